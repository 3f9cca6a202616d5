r"""Claim epochs on this rung: labels sampled from a teacher, and students that see the same ones again and again.

The student takes $t$ gradient steps of size $\eta = 1/\lambda_{max}$, each on the same $N$ labels, drawn from the
softmax of the auxiliary logits at $\theta^0 + s\,\Delta_T$. In the eigenbasis of $K$ its displacement along $\Delta_T$
has, to leading order in $s$ and $1/\sqrt N$, the mean $s\sum_i a_i^2 s_i$ and the variance
$\tfrac1N\sum_i a_i^2 s_i^2/\lambda_i$: both are $e_1^\top f(T)\,e_1$ of the tridiagonal matrix that Lanczos's iteration
gives. Their ratio is at most $\sqrt{2N\,\mathrm{KL}}$, reached by one step, and only falls from then on.

Two teachers are tried. A young one, with so many labels an image that they carry `SIGNAL_TO_NOISE` deviations, stands
for the leading order. The trained one gives one label an image, and so few are not in it: a first run found students of
ten epochs and more many predicted deviations off, whatever their teacher had learned. So students of the init's own
labels are trained beside them, and what is judged is the young teacher alone, up to ten epochs.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mlp_mnist.arms import PREDICTED_TIMES, SCALES, TIMES, YOUNG_TIMES, Results
from mlp_mnist.predictions import Case, explore_kernel, pose
from mlp_mnist.protocol import LOGITS, NUM_CLASSES, Protocol
from mlp_mnist.verdicts import JOINT_CONFIDENCE, LEAST_SEEDS, Checks
from theory.claims.epochs import UNIT_VARIANCE, predict
from theory.labels import log_probabilities, nats_a_label
from theory.problem import Params, imitation_descent, inner_product
from theory.runs.checks import NEAR_ONE, NO_EXCESS, Check, Evidence, Select, every, mean, worst_mean
from theory.runs.verdicts import Accepted
from theory.tangent_kernel import iterate, train_student

NUM_PRODUCTS = 30
"""Lanczos's products with the kernel, plenty for 100 steps."""

EPOCHS = PREDICTED_TIMES[:5]
"""Numbers of epochs that are predicted."""

TRAINED = [EPOCHS.index(time) for time in TIMES]
"""Places of those after which students are looked at."""

YOUNG = TRAINED[: len(YOUNG_TIMES)]
"""The same for controls."""

AGES = (SCALES[0], 1.0)
r"""Where the labels' teacher is, $\theta^0 + s\,\Delta_T$: young, and trained."""

SIGNAL_TO_NOISE = 4.0
"""What the young teacher's labels carry; says how many there are."""

NUM_DRAWS = 2
"""Draws of the labels for each seed, number of auxiliary logits and teacher."""

MEASURED = {
    "epochs/labels": "labels an image, `AGES`",
    "epochs/signal": "predicted mean displacement along Δ_T, `AGES` by `EPOCHS`, in deviations after one epoch",
    "epochs/noise": "predicted standard deviation, likewise, `EPOCHS`",
    "epochs/fresh-noise": "the same if every epoch has labels of its own",
    "epochs/ceiling": "√(2N·KL) of the labels, the divergence exact, `AGES`",
    "epochs/young": "displacement of the young teacher's students in the same units, draws by `TIMES`",
    "epochs/young-fresh": "the same with fresh labels every epoch, draws by `YOUNG_TIMES`",
    "epochs/young-stranger": "the same for a student of another seed's init, likewise",
    "epochs/trained": "the trained teacher's students, draws by `TIMES`",
    "epochs/unlearned": "students of as many labels of the init itself, likewise",
}
"""What is measured, for each number of auxiliary logits."""


UNSEEN = 1e-30
"""Stands for no label at all, whose logarithm is no number."""


def labels_protocol(protocol: Protocol) -> Protocol:
    """Let the student imitate by the cross-entropy of labels, whatever else the protocol's does."""
    changes: dict[str, Any] = {"loss": "kl", "temperature": 1.0}
    return Protocol(**{**vars(protocol), **changes})


def auxiliary(init: Params) -> range:
    """Places of a network's auxiliary logits."""
    return range(NUM_CLASSES, NUM_CLASSES + len(init["auxiliary"]["bias"]))


def draw_labels(outputs: jax.Array, number: jax.Array, key: jax.Array) -> jax.Array:
    """Draw so many labels from the softmax of each image's auxiliary logits, and write their shares as outputs."""
    counts = jax.random.multinomial(key, number, jax.nn.softmax(outputs[:, LOGITS["aux"]]))
    return outputs.at[:, LOGITS["aux"]].set(jnp.log(jnp.maximum(counts, UNSEEN)))


@partial(jax.jit, static_argnames=("protocol", "times", "fresh"))
def train_on_labels(
    protocol: Protocol,
    case: Case,
    start: Params,
    scale: jax.Array,
    number: jax.Array,
    rate: jax.Array,
    keys: jax.Array,
    times: Sequence[int],
    *,
    fresh: bool = False,
) -> jax.Array:
    r"""Train a student for each key, and return its displacements along $\Delta_T$, `(draws, times)`."""
    problem, instance = pose(protocol, case)
    outputs = problem.apply(optax.tree.scale(scale, case.displacement), instance.inputs)

    def same(key: jax.Array) -> Params:
        return train_student(problem, instance._replace(student=start), draw_labels(outputs, number, key), rate, times)

    def anew(key: jax.Array) -> Params:
        def step(state: tuple[Params, jax.Array]) -> tuple[Params, jax.Array]:
            student, following = state
            this, following = jax.random.split(following)
            descent = imitation_descent(problem, student, instance.inputs, draw_labels(outputs, number, this))
            return optax.tree.add_scale(student, rate, descent), following

        students, _ = iterate(step, (start, key), times)
        return jax.tree.map(lambda after, before: after - before[None], students, start)

    train: Callable[[jax.Array], Params] = anew if fresh else same
    return jax.lax.map(lambda key: jax.vmap(inner_product, (0, None))(train(key), case.displacement), keys)


@partial(jax.jit, static_argnames=("protocol",))
def labels_carry(protocol: Protocol, case: Case) -> jax.Array:
    r"""$\mathrm{KL}$ in nats a label, teachers of `AGES` from the init."""
    problem, instance = pose(protocol, case)
    base, *teachers = (
        log_probabilities(
            problem,
            auxiliary(case.init),
            optax.tree.scale(scale, case.displacement),
            instance.inputs,
        )
        for scale in (0.0, *AGES)
    )
    return jnp.stack([nats_a_label(base, teacher) for teacher in teachers])


def measure(protocol: Protocol, case: Case, stranger: Params, key: jax.Array) -> dict[str, np.ndarray]:
    """Predict signal and noise, then train on drawn labels."""
    protocol = labels_protocol(protocol)
    matrix = np.asarray(explore_kernel(protocol, case, NUM_PRODUCTS).matrix, np.float64)
    rate = float(1 / np.linalg.eigvalsh(matrix)[-1])
    with jax.enable_x64(True):
        signal, variance, fresh = np.asarray(predict(jnp.array(matrix), jnp.array(rate), EPOCHS))
    square = inner_product(case.displacement, case.displacement)
    nats = len(case.noise) * np.asarray(labels_carry(protocol, case), np.float64)
    labels = np.array([max(1.0, np.round(SIGNAL_TO_NOISE**2 / (2 * nats[0]))), 1.0])
    units = np.sqrt(float(square) * variance[0] / (len(case.noise) * labels))
    start, keys = optax.tree.zeros_like(case.init), jax.random.split(key, NUM_DRAWS)

    def train(start: Params, scale: float, age: int, times: Sequence[int], **arm: bool) -> np.ndarray:
        settings = map(jnp.float32, (scale, labels[age], rate))
        moved = train_on_labels(protocol, case, start, *settings, keys, times, **arm)
        return np.asarray(moved, np.float64) / units[age]

    return {
        "labels": labels,
        "signal": float(square) * np.array(AGES)[:, None] / units[:, None] * signal,
        "noise": np.sqrt(variance / variance[0]),
        "fresh-noise": np.sqrt(fresh / variance[0]),
        "ceiling": np.sqrt(2 * labels * nats),
        "young": train(start, AGES[0], 0, TIMES),
        "young-fresh": train(start, AGES[0], 0, YOUNG_TIMES, fresh=True),
        "young-stranger": train(stranger, AGES[0], 0, YOUNG_TIMES),
        "trained": train(start, AGES[1], 1, TIMES),
        "unlearned": train(start, 0.0, 1, TIMES),
    }


def deviations(cases: Results, arm: str) -> np.ndarray:
    """What the prediction leaves of young students, in predicted deviations, `(seeds, numbers, draws, times)`."""
    trained = cases[f"epochs/{arm}"]
    times = TRAINED[: trained.shape[-1]]
    return (trained - cases["epochs/signal"][:, :, :1, times]) / cases["epochs/noise"][:, :, None, times]


def _excess(power: int, arm: str) -> Select:
    """A power of it after `YOUNG_TIMES`; every student is an instance, as all are independent under what is checked."""
    return lambda evidence: [(deviations(evidence.cases, arm)[..., : len(YOUNG)] ** power).reshape(-1, len(YOUNG))]


def _gain(arm: str, noise: str) -> Select:
    """What the last of `YOUNG_TIMES` has more than the first, in standard deviations, averaged alike."""

    def select(evidence: Evidence) -> list[np.ndarray]:
        of = evidence.cases
        read = of[f"epochs/{arm}"][..., : len(YOUNG)] / of[f"epochs/{noise}"][:, :, None, YOUNG]
        return [np.mean(read[..., -1] - read[..., 0], axis=(1, 2))]

    return select


def _decline(noise: str) -> Select:
    """Predicted signal-to-noise over that at the time before."""

    def select(evidence: Evidence) -> list[np.ndarray]:
        ratio = evidence.cases["epochs/signal"][:, :, 0] / evidence.cases[f"epochs/{noise}"]
        return [ratio[..., 1:] / ratio[..., :-1]]

    return select


def _reached(age: int, place: int) -> Select:
    """Predicted signal-to-noise over what the labels carry."""

    def select(evidence: Evidence) -> list[np.ndarray]:
        signal, noise, ceiling = (evidence.cases[f"epochs/{name}"] for name in ("signal", "noise", "ceiling"))
        return [signal[:, :, age, place] / noise[..., place] / ceiling[..., age]]

    return select


def separation(cases: Results) -> np.ndarray:
    """Mean difference of the trained teacher's and the init's students, in standard deviations of both within a seed.

    For each number of logits and each of `TIMES`; NaN for a single draw. Seeds with a diverged student are left out.
    """
    arms = [cases[f"epochs/{arm}"] for arm in ("trained", "unlearned")]
    variance = np.nanmean([np.var(arm, axis=2, ddof=1) for arm in arms], axis=(0, 1))
    return np.nanmean(np.mean(arms[0] - arms[1], axis=2), axis=0) / np.sqrt(variance)


YOUNG_IN_WORDS = " and ".join(map(str, YOUNG_TIMES))
STRANGER = "student from another seed's init"
FRESH = "fresh labels every epoch"

CHECKS: tuple[Check, ...] = (
    Check(
        says=f"mean of (Δ_T·(θ_S − θ⁰) − sΣa²s) / σ_t, teacher at θ⁰ + {AGES[0]}Δ_T, t = {YOUNG_IN_WORDS}, worst",
        predicted="0",
        of=_excess(1, "young"),
        by=worst_mean(NO_EXCESS),
        accepted=NO_EXCESS,
        control=STRANGER,
        broken=_excess(1, "young-stranger"),
        least=LEAST_SEEDS,
    ),
    Check(
        says="mean square of the same, σ_t² = Σa²s²/λN",
        predicted="1",
        of=_excess(2, "young"),
        by=worst_mean(UNIT_VARIANCE),
        accepted=UNIT_VARIANCE,
        control=FRESH,
        broken=_excess(2, "young-fresh"),
        least=LEAST_SEEDS,
    ),
    Check(
        says=f"standard deviations after {YOUNG_TIMES[-1]} epochs less those after 1, the same students, mean",
        predicted="< 0",
        of=_gain("young", "noise"),
        by=mean(confidence=JOINT_CONFIDENCE),
        accepted=Accepted(low=-np.inf, high=0.0),
        control=FRESH,
        broken=_gain("young-fresh", "fresh-noise"),
        least=LEAST_SEEDS,
    ),
    Check(
        says=f"predicted SNR_t over that before, t = {', '.join(map(str, EPOCHS[1:]))}, every seed and number",
        predicted="≤ 1",
        of=_decline("noise"),
        by=every,
        accepted=Accepted(low=0.0, high=1.0),
        control=FRESH,
        broken=_decline("fresh-noise"),
    ),
    Check(
        says="predicted SNR₁ of the young teacher's labels / √(2N·KL), the divergence exact, every seed and number",
        predicted="1",
        of=_reached(0, 0),
        by=every,
        accepted=NEAR_ONE,
        control=f"{EPOCHS[-1]} epochs",
        broken=_reached(0, -1),
    ),
    Check(
        says="the same of the trained teacher's",
        predicted="1 if young",
        of=_reached(1, 0),
        by=every,
    ),
    Check(
        says=f"mean of (Δ_T·(θ_S − θ⁰) − sΣa²s) / σ_t after {TIMES[-1]} epochs, young teacher",
        predicted="0 to leading order",
        of=lambda evidence: [np.mean(deviations(evidence.cases, "young")[..., -1], axis=(1, 2))],
        by=mean(confidence=JOINT_CONFIDENCE),
        least=LEAST_SEEDS,
    ),
    *(
        Check(
            says=f"size of Δ_T·(θ_S − θ⁰) / σ_t, a label of the init an image, diverged left out, t = {time}",
            predicted="0.8 to leading order: nothing but noise",
            of=lambda evidence, place=place: [
                np.nanmean(np.mean(np.abs(evidence.cases["epochs/unlearned"][..., place]), axis=2), axis=0)
                / np.mean(evidence.cases["epochs/noise"][..., TRAINED[place]], axis=0)
            ],
            by=every,
        )
        for place, time in enumerate(TIMES)
    ),
    *(
        Check(
            says="standard deviations between students of the trained teacher's and of the init's labels, one an "
            f"image, t = {time}, every number",
            predicted="falls with t, to leading order",
            of=lambda evidence, place=place: [separation(evidence.cases)[:, place]],
            by=every,
        )
        for place, time in enumerate(TIMES)
    ),
)


def checks(numbers: Sequence[int]) -> Checks:
    """The leading order behind a young teacher; reports behind the trained one, whose labels are few."""
    del numbers
    return (("epochs", check) for check in CHECKS)
