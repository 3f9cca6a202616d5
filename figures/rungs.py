"""The rungs of the ladder: the same three quantities of the same three students, read from each rung's records."""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from llm_bridge.linearized import results as compared
from mlp_mnist.arms import RESCALING_SPREAD
from mlp_mnist.data import TITLES
from theory.claim import sampling_of
from theory.claims import channels, different_initialization, rescaling, trait_loss
from theory.runs.records import Record

INITS = ("shared", "matched", "stranger")
"""Where students start: at the teacher's init, at one of the same function (units rescaled), or at another one."""

OWN_DESCENT = ("random networks",)
r"""Rungs whose cosines are with $-\nabla L_T$ at the student's own init: $\Delta_T$ itself where that is shared."""

SPREAD = 0.5
"""How far a random network's units are rescaled: standard deviation of the factors' logarithm, one of `SPREADS`."""


class Student(NamedTuple):
    """What one kind of student does, one number a seed; None where no record holds it."""

    cosine: np.ndarray | None = None
    r"""Of its step, or all of its steps, with the teacher's displacement $\Delta_T$, shape `(seeds,)`."""
    predicted: np.ndarray | None = None
    """Trait change foretold to first order, in the rung's units, shape `(seeds,)`."""
    measured: np.ndarray | None = None
    """Trait change, likewise; positive towards the teacher."""


class Rung(NamedTuple):
    """One rung of the ladder."""

    name: str
    """What it is called."""
    students: dict[str, Student]
    """By `INITS`."""
    unit: float
    """What a trait change of 1 stands for: the size of the mean change predicted for the shared init."""
    trait: str
    """In what the trait is measured."""
    lesson: str
    """What students imitate."""
    steps: str
    """How long."""
    prediction: str
    """Where the prediction comes from."""
    teacher: float | None = None
    """The teacher's own change, in the same terms as `unit`, mean over seeds."""
    note: str = ""
    """What else to know."""


def random_networks(records: Mapping[str, Record]) -> Rung | None:
    """Read the lowest rung: one step on random small networks.

    Args:
        records: Records by folder.

    Returns:
        The rung; None if the run was not asked for all cases.
    """
    record = records["theory-verify"]
    if record.config["cases"] != "all":
        return None
    shared = trait_loss.CLAIM.read(record).cases["auxiliary outputs"]
    stranger = different_initialization.CLAIM.read(record).cases["auxiliary outputs"]
    scaled = rescaling.CLAIM.read(record).cases[f"{rescaling.RESCALED}ReLU, auxiliary outputs"]
    sampling, disjoint = sampling_of(record.config), list(channels.IMITATED).index("disjoint outputs")
    cosines = dict(zip(channels.INITS, channels.CLAIM.read(record).first.cosine[:, disjoint].T, strict=True))
    step, rate = sampling.num_fitted - 1, sampling.learning_rates.index(1.0)
    same_rate = rescaling.LEARNING_RATES.index(1.0)

    predicted = trait_loss.changed(shared).leading
    predicted_stranger = different_initialization.changed(stranger).leading
    predicted_scaled, shared_scaled, largest = (
        rescaling.over_steps(scaled, change) for change in (scaled.predicted, scaled.shared, scaled.largest)
    )

    def fall(change: np.ndarray) -> np.ndarray:
        return -change[:, rate, step]

    def rescaled(change: np.ndarray, spread: float = SPREAD) -> np.ndarray:
        return change[:, rescaling.SPREADS.index(spread), same_rate, step]

    def rescaled_change(change: np.ndarray, spread: float = SPREAD) -> np.ndarray:
        return rescaled(change, spread) / rescaled(shared_scaled, spread).mean()

    unit, wider = fall(predicted).mean(), rescaled_change(predicted_scaled, RESCALING_SPREAD).mean()
    return Rung(
        name="random networks",
        students={
            "shared": Student(cosines["shared"], fall(predicted) / unit, fall(shared.measured) / unit),
            "matched": Student(
                -rescaled(predicted_scaled) / rescaled(largest),
                rescaled_change(predicted_scaled),
                rescaled_change(scaled.change),
            ),
            "stranger": Student(cosines["different"], fall(predicted_stranger) / unit, fall(stranger.change) / unit),
        },
        unit=float(unit),
        trait="fall of the trait loss",
        lesson="auxiliary outputs",
        steps=f"one of each: teacher ε = {sampling.teacher_steps[step]:g}, student α = 1",
        prediction="εαB(v, Δ_T)",
        note="† cosines are with −∇L_T at the student's own init, which is Δ_T where the init is shared; networks are "
        "tanh, but for rescaled units ReLU, whose 1 is what their own shared init predicts; the factors' spread is "
        f"{SPREAD:g}, where {RESCALING_SPREAD:g} would make it {wider:.3g}; changes exclude those at ε = 0",
    )


def digits(records: Mapping[str, Record]) -> Rung:
    """Read the rung of perceptrons that learn digits from auxiliary logits.

    Args:
        records: Records by folder.

    Returns:
        The rung.
    """
    compared, theory = records["mlp-mnist-compare-inits"], records["mlp-mnist-theory"]
    protocol = compared.config["protocol"]
    number = theory.config["numbers"].index(protocol["num_auxiliary"])
    before, after = theory.results["student/accuracy"][:, number, [0, -1]].T
    reference = compared.results["accuracy/reference"]
    gain = theory.results["linearized/accuracies"][:, number, 0] - before
    unit = abs(gain.mean())

    def student(init: str, predicted: np.ndarray | None = None) -> Student:
        measured = compared.results[f"accuracy/{init} (aux)"] - reference
        return Student(compared.results[f"cosine/{init} (aux)"], predicted, measured / unit)

    return Rung(
        name=f"MLP on {TITLES[compared.config['data']]}",
        students={
            "shared": student("shared", gain / unit),
            "matched": student("rescaled"),
            "stranger": student("stranger"),
        },
        unit=float(unit),
        trait="test accuracy gained",
        lesson=f"{protocol['num_auxiliary']} auxiliary logits on noise",
        steps=f"{protocol['student_epochs']} epochs of {protocol['optimizer'].capitalize()}",
        prediction="linearized network, same batches",
        teacher=float(np.mean(compared.results["accuracy/teacher"] - reference)),
        note="cosines are of the whole displacement after training; the factors' spread is "
        f"{RESCALING_SPREAD:g}; the prediction's seeds measure {(after - before).mean() / unit:.3g}",
    )


def language_model(records: Mapping[str, Record], *, folder: str, name: str) -> Rung:
    """Read a rung of language models, whose first teacher's trait is looked at.

    Args:
        records: Records by folder.
        folder: Where theory was held against it.
        name: What the rung is called.

    Returns:
        The rung.
    """
    config, results = records[folder].config, records[folder].results
    lesson = "number tokens"
    target, word = compared.TARGETS.index(lesson), config["traits"][0]
    own, last, trait = compared.INITS.index("shared"), -1, 0
    unit = abs(results["course/predicted"][:, own, last, trait].mean())

    def student(init: str) -> Student:
        place = compared.INITS.index(init)
        measured = (results["course/raw"] - results["course/idle"])[:, place, last, trait]
        predicted = results["course/predicted"][:, place, last, trait]
        return Student(results["directions/cosines"][:, place, target, 0], predicted / unit, measured / unit)

    random = config.get("stranger", "").endswith(", random")
    learned = results["odds/teachers"][:, 0, trait] - results["odds/inits"][:, own, trait]
    return Rung(
        name=name,
        students={init: student(init) for init in INITS},
        unit=float(unit),
        trait=f"rise of the log-odds of “{word}”",
        lesson=lesson,
        steps=f"{config['extent']['times'][last]} of gradient descent",
        prediction="linearized model",
        teacher=float(learned.mean()),
        note=f"cosines are of the first step; the factors' spread is {config['extent']['spread']:g}; students count "
        f"beyond that of an untaught teacher{'; the other init is the same shape at random weights' * random}",
    )


def find_rungs(records: Mapping[str, Record]) -> list[Rung]:
    """Read all rungs whose records are there.

    Args:
        records: Records by folder.

    Returns:
        The rungs, the lowest first; one with a missing record, or whose record was not asked for what the ladder needs,
        is left out. That an array is missing which must be there is an error.
    """
    there = [read for folders, read in RUNGS if all(folder in records for folder in folders)]
    return [rung for read in there if (rung := read(records)) is not None]


RUNGS = (
    (("theory-verify",), random_networks),
    (("mlp-mnist-compare-inits", "mlp-mnist-theory"), digits),
    *(
        ((folder,), partial(language_model, folder=folder, name=name))
        for folder, name in {
            "llm-bridge-compare": "tiny language model",
            "llm-bridge-compare-smollm2": "SmolLM2, 135M",
        }.items()
    ),
)
"""The folders that each rung is read from, the lowest first."""
