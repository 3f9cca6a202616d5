"""Verdicts on the whole training run: whole teachers, epochs, Adam, adapters and a shared head."""

from dataclasses import replace
from functools import partial

import numpy as np

from llm_bridge.linearized.quantities import SCALES
from llm_bridge.linearized.results import IMITATED, SHARED, Results, check, check_init, read, stated
from llm_bridge.linearized.tables import head_shares
from llm_bridge.linearized.training_run import RANK_TIMES, RANKS, TRAINED
from theory.claim import Claim
from theory.claims import adam, epochs
from theory.runs.checks import NO_EXCESS, SECOND_ORDER, VANISHING, Check, Evidence, every, mean, share, worst_mean
from theory.runs.verdicts import Accepted, Verdict

ONE = Accepted(low=1.0, high=1.0, rule="covers")
"""The interval of a mean contains one."""


def split(results: Results, init: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Divergence, curvature and simulated alignment behind every teacher of layers, `(seeds, teachers, scales)`."""
    names = ("numbers", "tokens")
    measured = [results[f"steps/{name}/alignment"][:, init] * np.array(SCALES) for name in names]
    parts = [[results[f"finite/{name}/{part}"] for name in names] for part in ("divergence", "curvature")]
    divergence, curvature, alignment = (np.concatenate(each, axis=1) for each in (*parts, measured))
    return divergence, curvature, alignment


def mismatch(results: Results, init: int) -> np.ndarray:
    """What is left of the identity, relative to its parts."""
    divergence, curvature, measured = split(results, init)
    return np.abs(measured - divergence + curvature) / (np.abs(divergence) + np.abs(curvature))


def towards(results: Results, init: int) -> np.ndarray:
    """The alignment over the divergence, where the teacher is within the radius."""
    divergence, curvature, measured = split(results, init)
    return (measured / divergence)[np.abs(curvature) < divergence]


def whole(results: Results, *targets: str) -> np.ndarray:
    """The curvature's share of the divergence at the whole teacher, `(seeds, teachers)`."""
    ratios = [results[f"finite/{name}/curvature"] / results[f"finite/{name}/divergence"] for name in targets]
    return np.concatenate([ratio[..., 0] for ratio in ratios], axis=1)


LAYERS, EVERYTHING = ("numbers", "tokens"), ("everything",)

FINITE = stated({
    f"sΔ_S·Δ_T − Jeffreys + E[(p_T − p₀)·r], relative, s = 1 to {SCALES[-1]:.2g}, every teacher of layers": check_init(
        "0 (rounding)", mismatch, every, Accepted(low=0.0, high=VANISHING)
    ),
    "sΔ_S·Δ_T / Jeffreys where |E[(p_T − p₀)·r]| < Jeffreys, every teacher of layers": check_init(
        "> 0, as the identity holds", towards, every
    ),
    **{
        f"E[(p_T − p₀)·r] / Jeffreys of whole teachers of {name}, every teacher": check(
            "no guarantee; sure within ±1", lambda results, targets=targets: whole(results, *targets), every
        )
        for name, targets in (("layers", LAYERS), ("everything", EVERYTHING))
    },
    "share of whole teachers within the radius": check(
        "no guarantee", lambda results: np.abs(whole(results, *LAYERS, *EVERYTHING)) < 1, share()
    ),
})
"""Claim finite-step."""


def scores(results: Results, init: int, place: int, power: int = 1) -> np.ndarray:
    """What the prediction leaves of whole teachers' students of one token a place, in predicted deviations."""
    one = read(epochs.Epochs, f"epochs/{'tokens' if init == SHARED else 'stranger'}", results)
    return ((one.trained[..., place] - one.signal[:, None, place]) / one.noise[:, None, place]) ** power


def lost(results: Results) -> np.ndarray:
    """Deviations after the last number of epochs less those after one, mean over each base's students."""
    one = read(epochs.Epochs, "epochs/tokens", results)
    read_off = one.trained / one.noise[:, None, :TRAINED]
    return np.mean(read_off[..., -1] - read_off[..., 0], axis=1)


TOKENS = stated({
    **{
        f"(Δ_T·(θ_S − θ⁰) − Σa²s) / σ_t, whole teacher, one token a place, t = {epochs.TIMES[place]}": check_init(
            "0 if linear", partial(scores, place=place), mean()
        )
        for place in range(0, TRAINED, 2)
    },
    **{
        f"mean square of the same, t = {epochs.TIMES[place]}": check(
            "1 if linear", partial(scores, init=SHARED, place=place, power=2), mean()
        )
        for place in range(0, TRAINED, 2)
    },
    f"standard deviations after {epochs.TIMES[TRAINED - 1]} epochs less those after 1, same students": check(
        "< 0 if linear", lost, mean()
    ),
    "SNR₁ / √(2N·KL), whole teacher": check(
        "1 if quadratic",
        lambda results: results["epochs/tokens/signal"][:, 0] / results["epochs/tokens/ceiling"],
        every,
    ),
})
"""Claim epochs, where it guarantees nothing: with the whole teacher and few tokens."""


def follows(results: Results, init: int, place: int) -> np.ndarray:
    """Cosine of the displacement of Adam's student with what the teacher has learned, at one of the times."""
    return results[f"adam/{'whole' if init == SHARED else 'stranger'}/cosine"][:, place]


ADAM = stated({
    says: each
    for place, time in enumerate(adam.TIMES)
    for says, each in {
        f"distance from Adam on linearized gradients, relative, whole teacher, t = {time}": check(
            "0 if linear",
            lambda results, place=place: (results["adam/whole/error"] / results["adam/whole/distance"])[:, place, 0],
            every,
        ),
        f"cosine of Adam's student's displacement with Δ_T, whole teacher, t = {time}": check_init(
            "no guarantee", partial(follows, place=place), every
        ),
    }.items()
})
"""Claim adam, with the whole teacher."""


def definite(results: Results, name: str, step: int | None = None) -> np.ndarray:
    """Mean of second derivatives of the trait's loss over draws, over the mean of their sizes."""
    bends = results[name] if step is None else results[name][:, step]
    return bends.mean(axis=-1) / np.abs(bends).mean(axis=-1)


def by_adam(results: Results) -> np.ndarray:
    """Predicted rise by Adam's preconditioner over that of a plain step of the same length, on drawn tokens."""
    speed = results["gains/slope"] / np.sqrt(results["gains/squares"].mean(axis=-1))
    return speed[:, 1] / speed[:, 0]


GAINS = stated({
    **{
        f"mean of (Pu)ᵀH(Pu) over drawn tokens / mean size, {name}": check(
            "no guarantee; the best fall needs it positive", partial(definite, name="gains/bends", step=step), every
        )
        for step, name in enumerate(("plain", "Adam's P"))
    },
    "rise by Adam's P over a plain step of the same length, ∇o·Pg / √E‖Pu‖², flat trait loss": check(
        "no guarantee", by_adam, every
    ),
    "the same less what it is in students of drawn tokens, as a share of it, mean": check(
        "0 if linear",
        lambda results: 1 - np.divide(*results["gains/rises"].mean(axis=-1)[:, ::-1].T) / by_adam(results),
        mean(),
    ),
})
"""Claim adaptive-gain."""


def excess(results: Results, power: int, factor: float = 1.0, ranks: slice = slice(None)) -> np.ndarray:
    """A power of what the first step through drawn adapters leaves, in deviations; bases and draws are instances."""
    left = (factor * results["ranks/slopes"] - 1) / results["ranks/deviation"][:, ranks, None]
    return np.moveaxis(left, -1, 1).reshape(-1, len(RANKS)) ** power


def ends(results: Results) -> np.ndarray:
    """Size of the step at which drawn tokens' noise has cost what is gained, in those of a descent."""
    end = 2 * results["ranks/slope"] / results["ranks/cost"].mean(axis=-1)
    return np.abs(end / results["ranks/rates"][:, -1])


def lead(results: Results, high: int, low: int, time: int) -> np.ndarray:
    """How much more the log-odds rise at one place on the axis of ranks than at another."""
    return results["ranks/rises"][:, high, time] - results["ranks/rises"][:, low, time]


ADAPTERS = stated({
    f"(∇o·AAᵀg / ∇o·g − 1) / σ_r, A drawn, r = {', '.join(map(str, RANKS))}, mean, worst": check(
        "0",
        partial(excess, power=1),
        worst_mean(NO_EXCESS),
        NO_EXCESS,
        control="entries of variance 2/r",
        broken=partial(excess, power=1, factor=2.0),
    ),
    "mean square of the same, σ_r² = 2‖sym S‖²/r(∇o·g)²": check(
        "1",
        partial(excess, power=2),
        worst_mean(ONE),
        ONE,
        control="rank 1's at every rank",
        broken=partial(excess, power=2, ranks=slice(1)),
    ),
    **{
        f"mean of {name} / mean size, drawn tokens": check(
            "no guarantee; r* and G∞ need it positive", partial(definite, name=f"ranks/{field}"), every
        )
        for field, name in (("cost", "uᵀHu, adapted matrices"), ("spread", "what the adapters' spread adds to it"))
    },
    "step at which tokens' noise costs all of the gain, |2∇o·g/Q|, in steps of the descent; stable: 2 / speed": check(
        "no guarantee", ends, every
    ),
    **{
        f"rise of log-odds on the teacher's tokens, {name}, t = {RANK_TIMES[time]}": check(
            predicted, partial(lead, high=high, low=low, time=time)
        )
        for time in range(len(RANK_TIMES))
        for name, predicted, high, low in (
            (f"r = {RANKS[-1]} less r = {RANKS[0]}", "no guarantee; > 0 in an increasing one", len(RANKS) - 1, 0),
            (f"r = {RANKS[2]} less r = {RANKS[-1]}", "no guarantee; > 0 in an inverted U", 2, len(RANKS) - 1),
        )
    },
})
"""Claim rank-noise, and the moments of low-rank."""


def leads(lifts: np.ndarray) -> np.ndarray:
    """Share of teachers (rows) whose own word is foretold to rise the most, by base."""
    return np.mean(np.argmax(lifts, axis=-1) == np.arange(lifts.shape[1]), axis=-1)


HEADS = stated({
    **{
        f"share of teachers whose own word is foretold to rise the most, stranger with their head, {name}": check(
            "no guarantee for bodies that were trained; a random body learns m/(m + κ)",
            lambda results, target=target: leads(results["heads"][:, target, 1]),
            control="stranger with its own head",
            broken=lambda results, target=target: leads(results["heads"][:, target, 0]),
        )
        for target, name in enumerate(IMITATED[:2])
    },
    "share of B(v, Δ_T) from head to head, all tokens, teacher of everything": check_init(
        "≈ 0: heads decide the sign, nothing travels in them",
        lambda results, init: head_shares(results)[:, init, IMITATED.index("all tokens")],
        every,
    ),
})
"""Claim shared-heads."""

CHECKS = {
    "finite-step": FINITE,
    "epochs": TOKENS,
    "adam": ADAM,
    "adaptive-gain": GAINS,
    "low-rank": ADAPTERS[:2],
    "rank-noise": ADAPTERS[2:],
    "shared-heads": HEADS,
}
"""What is checked here, by claim."""


def in_limit(claim: Claim, *first: Check) -> list[Check]:
    """Take a claim's checks, other first ones in place of its own, as they are for few base models.

    An order is judged in each of them, not by a median over many; means are over students, who are independent under
    what is checked: over base models they could refuse next to nothing.

    A mean that must have a sign is judged from the claim's own number of instances on, as six base models could not
    tell that of what epochs lose: -1.18, from -3.06 to 0.70. That was decided when it was seen.
    """

    def adapt(check: Check) -> Check:
        signed = check.accepted is not None and check.accepted.low == -np.inf
        return replace(check, least=check.least * signed, by=every if check.accepted is SECOND_ORDER else check.by)

    checks = () if callable(claim.checks) else claim.checks
    return list(map(adapt, (*first, *checks[len(first) :])))


def judge_training(results: Results) -> list[Verdict]:
    """Judge the whole training run: in their limits by the claims' own checks, and beyond by these."""
    limits = ((epochs.CLAIM, "epochs/limit", epochs.moments(pooled=True)), (adam.CLAIM, "adam/limit", ()))
    judged = [
        (claim.name, in_limit(claim, *first), Evidence({prefix: read(claim.measurement, prefix, results)}, None))
        for claim, prefix, first in limits
    ]
    judged += [(name, checks, Evidence(results, None)) for name, checks in CHECKS.items()]
    return [verdict for name, checks, evidence in judged for check in checks for verdict in check.judge(name, evidence)]
