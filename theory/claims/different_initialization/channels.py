r"""Claim 5's bilinear form by parameter group: through which channel a trait travels, and where the init decides.

$$B(v, u) = \sum_{g,h} B(P_g v, P_h u), \qquad
\big(\Delta_S(\epsilon) - \Delta_S(0)\big)\cdot P_g v = \epsilon\,B(P_g v, P_h \Delta_T) + O(\epsilon^2)$$

if the teacher moves in its group $h$ alone. Two things are exact:

- With a shared init and $v = \Delta_T$ the table is a Gram matrix: every group by itself transfers with the right sign.
- If the student imitates auxiliary outputs that the trait doesn't read, the head's row and column are 0, whatever the
  inits share: everything travels through the body, although the heads decide its sign (see `signs`).

If it imitates the trait's own outputs, every channel is likely to be positive between different inits too: with
$v = -\nabla L_T(\theta_S^0)$ the movements $J_S P_g v$ and $J_T P_h \Delta_T$ are tangent kernels applied to nearly the
same residuals, and wide networks have nearly the same kernel, diagonal in the outputs.

References:
    Derived here. The teacher's auxiliary head feels no gradient of the trait and its class head moves no auxiliary
    output, so $J_T P_\text{head} \Delta_T = 0$ on what is imitated; the same of the student's $v$. Compare Brockers et
    al. (2026), arXiv:2605.23645, on compatible heads, and arXiv:2606.22019 on the location of the channel.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import jax
import numpy as np

from theory import zoo
from theory.claims.different_initialization.forms import IMITATED, INITS, Forms, measure_forms
from theory.claims.evidence import LEAST_SEEDS, SECOND_ORDER, VANISHING, Comparison, Report, worst_order
from theory.predictions import group_names
from theory.runs.statistics import Estimate, joint_confidence, median_estimate, range_estimate, rate_estimate
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Accepted, Verdict

ACTIVATIONS = {"tanh": "tanh", "ReLU": "relu"}
"""Activations by how they are written; the first serves for the orders."""


def verify_channels(name: str, sampling: Sampling) -> Report:
    """Check the table of channels, what is exactly zero in it and its sign with a shared init; report the shares.

    Args:
        name: The claim's name.
        sampling: Instances and step sizes; with few cases the first activation alone.

    Returns:
        The report.
    """
    labels = list(ACTIVATIONS)[: None if sampling.cases == "all" else 1]
    problems = {
        label: [
            zoo.variant(f"{label}, {chosen}", activation=ACTIVATIONS[label], imitated=outputs)
            for chosen, outputs in IMITATED.items()
        ]
        for label in labels
    }
    measures = {
        f"forms: {label}": partial(measure_forms, group, teacher_steps=sampling.teacher_steps)
        for label, group in problems.items()
    }
    results: dict[str, Forms] = sampling.sweep_all(measures, name)
    head = group_names(jax.eval_shape(problems[labels[0]][0].initialize, jax.random.key(0))).index("head")
    certain = [simulation_verdict(name, results[f"forms: {labels[0]}"], sampling)]
    certain += certain_verdicts(name, list(results.values()), head)
    return Report(certain + unguaranteed_verdicts(name, results, head), results)


def simulation_verdict(name: str, forms: Forms, sampling: Sampling) -> Verdict:
    """Check the table against simulated steps, every entry of it.

    Args:
        name: The claim's name.
        forms: Measurements.
        sampling: Instances and step sizes.

    Returns:
        The verdict; its control takes the student's groups for the teacher's.
    """
    predicted, simulated, visible = map(np.asarray, (forms.predicted, forms.simulated, forms.visible))

    def order(leading: np.ndarray) -> Estimate:
        return worst_order([Comparison(leading, simulated, visible)], sampling)

    num_channels = predicted[0, ..., 0].size
    return Verdict(
        claim=name,
        check=f"order of (Δ_S(ε) − Δ_S(0))·P_g v − εB(P_g v, P_h Δ_T), worst of {num_channels} channels",
        predicted="2.00",
        measured=order(predicted),
        accepted=SECOND_ORDER,
        control="student's and teacher's groups exchanged",
        control_measured=order(np.swapaxes(predicted, 1, 2)),
        instances=int(visible.sum()),
        least_instances=LEAST_SEEDS,
    )


def certain_verdicts(name: str, forms: Sequence[Forms], head: int) -> list[Verdict]:
    """Judge what is certain in every instance: the table's zeros, and its sign where the init is shared.

    Args:
        name: The claim's name.
        forms: Measurements, one for each activation.
        head: Which group is the head.

    Returns:
        The verdicts.
    """
    channels = np.concatenate([each.channels for each in forms])
    cosine = np.concatenate([each.cosine for each in forms])
    everything, disjoint = (list(IMITATED).index(chosen) for chosen in ("all outputs", "disjoint outputs"))
    shared, different = map(INITS.index, INITS)
    through_head = np.maximum(np.abs(channels[..., head, :]).max(axis=-1), np.abs(channels[..., head]).max(axis=-1))
    spectra = np.linalg.eigvalsh(channels + np.swapaxes(channels, -1, -2))
    lowest = spectra[..., 0] / np.abs(spectra).max(axis=-1)
    verdict = partial(Verdict, claim=name, instances=len(channels), least_instances=LEAST_SEEDS)
    return [
        verdict(
            check="B through the head of either, disjoint outputs, shared and different inits",
            predicted="0.0 exactly",
            measured=range_estimate(through_head[:, disjoint]),
            accepted=Accepted(low=0.0, high=0.0),
            control="all outputs",
            control_measured=range_estimate(through_head[:, everything]),
        ),
        verdict(
            check=f"smallest eigenvalue of the table / largest, shared init, {len(IMITATED)} sets of outputs",
            predicted="≥ 0 (Gram matrix)",
            measured=range_estimate(lowest[:, :, shared]),
            accepted=Accepted(low=-VANISHING, high=1.0),
            control="different inits",
            control_measured=range_estimate(lowest[:, :, different]),
        ),
        verdict(
            check=f"cosine of what the teacher adds with the student's own −∇L_T, {len(IMITATED)} sets of outputs",
            predicted="in (0, 1], shared init",
            measured=range_estimate(cosine[:, :, shared]),
            accepted=Accepted(low=0.0, high=1.0 + VANISHING),
            control="different inits",
            control_measured=range_estimate(cosine[:, :, different]),
        ),
    ]


def unguaranteed_verdicts(name: str, results: Mapping[str, Forms], head: int) -> list[Verdict]:
    """Report how often different inits keep the sign where the trait's outputs are imitated, and each channel's share.

    Args:
        name: The claim's name.
        results: Measurements by case.
        head: Which group is the head.

    Returns:
        Verdicts without a judge; shares are of the first case, medians over instances.
    """
    chosen = [imitated for imitated in IMITATED if imitated != "disjoint outputs"]
    first = np.asarray(next(iter(results.values())).channels)[:, list(IMITATED).index("all outputs")]
    parts = {"head to head": first[..., head, head], "body to body": np.delete(first, head, -1)}
    parts["body to body"] = np.delete(parts["body to body"], head, -2).sum(axis=(-1, -2))
    confidence = joint_confidence(len(results) * len(chosen))
    figures = {
        f"share of positive B: {case.removeprefix('forms: ')}, {imitated}, different inits": rate_estimate(
            np.asarray(forms.cosine)[:, list(IMITATED).index(imitated), INITS.index("different")] > 0, confidence
        )
        for case, forms in results.items()
        for imitated in chosen
    }
    figures |= {
        f"share of B from {channel}: all outputs, {init} init{'s' * (init == 'different')}": median_estimate(
            (part / first.sum(axis=(-1, -2)))[:, INITS.index(init)]
        )
        for channel, part in parts.items()
        for init in INITS
    }
    return [
        Verdict(claim=name, check=check, predicted="no guarantee", measured=figure, instances=len(first))
        for check, figure in figures.items()
    ]
