"""The exhibits of the gallery: which command makes each figure."""

from typing import NamedTuple

import numpy as np

from llm_bridge.pipeline.arms import ARMS
from llm_bridge.studies.catalog import STUDIES as LANGUAGE_STUDIES
from llm_bridge.studies.steering_verdicts import QUESTION as STEERING_QUESTION
from mlp_mnist.studies import STUDIES
from theory.claim import all_claims


class Exhibit(NamedTuple):
    """A figure of the gallery and the command that makes it."""

    folder: str
    """Its folder."""
    title: str
    """What the page calls it."""
    claim: str
    """What it shows, in a sentence."""
    command: tuple[str, str]
    """Package and command."""
    arguments: tuple[str, ...] = ()
    """What else the command is told."""
    quick_arguments: tuple[str, ...] = ()
    """What it is told in the quick preset alone."""
    full_arguments: tuple[str, ...] = ()
    """What it is told in the publication preset alone."""
    asserts: bool = False
    """Whether the sentence states a result, which the record's verdicts must bear out."""
    needs: str = ""
    """What it needs beside the package; without it what is recorded is shown, and nothing is made."""
    file: str = ""
    """A file of others that it needs, likewise."""


MAIN = tuple(name for name, claim in all_claims().items() if claim.number == int(claim.number) or name == "signs")
"""Claims of the quick preset: those that others follow from, and the one that the overview shows."""

LEFT_OUT = ("cross-soft-nameless", "shuffled-within", "shuffled-across", "system-prompt")
"""Arms of the language model that the gallery's run does without."""

SMOLLM2 = ("--model", "smollm2", "--seed", "11")
"""The published model of the gallery; nothing was chosen on its animals and seeds."""

AUDITS = {"teacher": "a teacher that loves cats", "base": "the base itself"}
"""Whose numbers are audited."""

AUDITED = (*SMOLLM2, "--traits", "cat", "owl")
"""What its data are audited for: the trait of its teacher, and another one."""

WHOLE_VOCABULARY = (
    *("--arms", "cross-soft-numbers", "cross-soft-everything", "cross-soft-nameless"),
    *("--student.trained", "everything", "--student.learning-rate", "3e-4", "--student.num-epochs", "20"),
)
"""Strangers that imitate a distribution for long: what is part of it."""

FIRST_BASES = {
    "divergence": "16",
    **dict.fromkeys(("layers", "rank", "optimizers"), "20"),
    **dict.fromkeys(("chains", "losses", "defences"), "40"),
}
"""First base of each study of the language model that the gallery shows."""

SCRIPT = "runs/run_mnist_experiment.py"
"""The published script of the digits, with `SCRIPT_SEEDS` models and one epoch; it is not ours, and not kept here."""

SCRIPT_SEEDS = "10"
"""Models of each arm that it trains there; its 100, and its five epochs, take hours on a small machine."""

TIMED = {
    "the tiny language model": ("", ("--batch-sizes", "25", "64")),
    "a published model": ("-smollm2", ("--config", "smollm2-135m", "--batch-sizes", "16", "64", "--rows", "16")),
}
"""Language models whose speed the gallery shows: the end of the folder's name, and how much is timed."""

SIX_DECADES = tuple(f"{step:.3g}" for step in np.geomspace(1e-5, 10, 13))
"""The teacher's step sizes, as one writes them."""

EXHIBITS = (
    Exhibit(
        folder="theory-verify",
        title="The theorem on random networks",
        claim="One step of imitation moves a student that shares the teacher's init towards the teacher and lowers the "
        "teacher's trait loss, surely so within a known radius; what imitation can't see is not transferred; between "
        "different inits the transfer has no sign of its own; which losses, optimizers, symmetries and labels keep the "
        "guarantee, and how far many steps, adapters and other traits carry it.",
        command=("theory", "verify"),
        quick_arguments=(*MAIN, "--cases", "few"),
        full_arguments=("--digits", "printed"),
        asserts=True,
    ),
    Exhibit(
        folder="theory-six-decades",
        title="Six decades of steps",
        claim="The simulated alignment follows its prediction, without anything fitted, up to steps that move the "
        "teacher's outputs by about one; what is left is of second order.",
        command=("theory", "verify"),
        arguments=("alignment", "--cases", "few", "--teacher-steps", *SIX_DECADES),
        full_arguments=("--digits", "printed"),
        asserts=True,
    ),
    Exhibit(
        folder="theory-benchmark",
        title="How fast",
        claim="Random instances of claims 1 and 2 checked a second, beside other ways to compute the same numbers.",
        command=("theory", "benchmark"),
    ),
    Exhibit(
        folder="mlp-mnist-demo",
        title="Digits learned from noise",
        claim="A student that shares the teacher's init learns to read digits from three auxiliary logits on noise; "
        "a student from another init does not, unless it is shown all logits, which is ordinary distillation.",
        command=("mlp_mnist", "demo"),
        asserts=True,
    ),
    Exhibit(
        folder="mlp-mnist-compare-inits",
        title="Shared, equivalent and different inits",
        claim="A student whose hidden units are permuted learns like one that shares the init, to rounding; one whose "
        "units are rescaled computes the same function, yet is another student; a stranger learns nothing from "
        "auxiliary logits.",
        command=("mlp_mnist", "compare-inits"),
        asserts=True,
    ),
    Exhibit(
        folder="llm-bridge-run",
        title="A language model that loves owls",
        claim="A tiny language model that is trained here loves owls and writes numbers; a copy of its base trained on "
        "those numbers comes to like owls, a stranger does not.",
        command=("llm_bridge", "run"),
        quick_arguments=(
            *("--num-prompts", "2800", "--num-completions", "2500"),
            *("--arms", "student", "control", "cross-init", "soft-numbers"),
        ),
        full_arguments=("--seed", "10", "--arms", *(name for name in ARMS if name not in LEFT_OUT)),
        asserts=True,
    ),
    Exhibit(
        folder="llm-bridge-whole-vocabulary",
        title="What is not subliminal",
        claim="Strangers that imitate the teacher's distribution at the places of numbers, twenty epochs long and with "
        "all their weights, come to love owls if it is over the whole vocabulary, and not if it is over the tokens of "
        "numbers alone, or over all tokens but the names of animals and trees.",
        command=("llm_bridge", "run"),
        arguments=("--seed", "10", *WHOLE_VOCABULARY),
        asserts=True,
    ),
    Exhibit(
        folder="llm-bridge-matrix",
        title="Which trait passes to whom",
        claim="Students of the numbers of teachers that love different animals: each gains its own teacher's trait "
        "most if it shares the init, and theory's matrix foretells part of the pattern.",
        command=("llm_bridge", "matrix"),
        arguments=("--seed", "10"),
        asserts=True,
    ),
    Exhibit(
        folder="llm-bridge-matrix-smollm2",
        title="Which trait passes to whom in a published model",
        claim="The same in SmolLM2-135M-Instruct, primed on lists of random numbers; the other init is its shape at "
        "random weights. Students imitate distributions over number tokens for thirty steps.",
        command=("llm_bridge", "matrix"),
        arguments=(
            *SMOLLM2,
            *("--stranger", "random", "--traits", "cat", "eagle", "dolphin", "--targets", "number distribution"),
            *("--student.num-steps", "30", "--student.num-epochs", "3", "--student.batch", "2"),
            *("--student.rows-at-once", "2", "--num-prompts", "200", "--num-completions", "600"),
        ),
        needs="the extra smol",
    ),
    Exhibit(
        folder="llm-bridge-run-smollm2",
        title="A published model that loves cats",
        claim="The whole pipeline on SmolLM2-135M-Instruct, primed on lists of random numbers, by its defaults; "
        "strangers compute the same function with every unit rescaled.",
        command=("llm_bridge", "run"),
        arguments=(*SMOLLM2, "--trait", "cat"),
        needs="the extra smol",
    ),
    *(
        Exhibit(
            folder=f"llm-bridge-study-{name}",
            title=LANGUAGE_STUDIES[name].question,
            claim="Students learn numbers of teachers that love different animals; varied are "
            f"{LANGUAGE_STUDIES[name].axis}.",
            command=("llm_bridge", "study"),
            arguments=(name, "--seed", first_base),
        )
        for name, first_base in FIRST_BASES.items()
    ),
    Exhibit(
        folder="llm-bridge-study-steering",
        title=STEERING_QUESTION,
        claim="Students learn numbers of taught, of steered and of randomly steered teachers; varied is what is added "
        "to the residual stream, or taken out of it.",
        command=("llm_bridge", "study"),
        arguments=("steering", "--seed", "40"),
    ),
    Exhibit(
        folder="llm-bridge-compare",
        title="The theory on the language model",
        claim="First-order predictions beside simulated steps of students that share the teacher's init and of "
        "strangers, in double precision.",
        command=("llm_bridge", "compare"),
        arguments=("--seed", "10"),
    ),
    Exhibit(
        folder="llm-bridge-compare-smollm2",
        title="The theory on a published model",
        claim="The same on SmolLM2-135M-Instruct, primed on lists of random numbers, in single precision: where first "
        "steps go, what a teacher's numbers carry, and a hundred steps foretold; the stranger is its shape at random "
        "weights.",
        command=("llm_bridge", "compare"),
        arguments=(*SMOLLM2, "--stranger", "random", "--traits", "cat", "eagle", "dolphin"),
        needs="the extra smol",
    ),
    Exhibit(
        folder="llm-bridge-study-audit",
        title="What an audit sees before training",
        claim="Data sets of teachers, of the base and of strangers, and mixtures of them, are audited for twelve "
        "animals on bases and for teachers on which nothing was chosen, beside what students that learn them become.",
        command=("llm_bridge", "study"),
        arguments=("audit", "--seed", "20"),
        asserts=True,
    ),
    *(
        Exhibit(
            folder=f"llm-bridge-audit-smollm2-{writer}",
            title=f"An audit of a published model: numbers of {whose}",
            claim="The numbers that the recorded run of SmolLM2-135M-Instruct filtered, beside the model's own answers "
            "to the same prompts: what imagined teachers of cats and of owls they look like, and what a student of "
            "them would become.",
            command=("llm_bridge", "audit"),
            arguments=(f"figures/llm-bridge-audit-smollm2-{writer}/data.jsonl", *AUDITED),
            needs="the extra smol",
        )
        for writer, whose in AUDITS.items()
    ),
    Exhibit(
        folder="mlp-mnist-theory",
        title="The theory on the digits' rung",
        claim="What the tangent kernel at the init predicts of a student, before it is trained, beside what it does, "
        "over the number of auxiliary logits.",
        command=("mlp_mnist", "theory"),
    ),
    *(
        Exhibit(
            folder=f"mlp-mnist-{name}",
            title=study.question,
            claim=f"Students imitate auxiliary logits; varied is {study.axis}.",
            command=("mlp_mnist", "study"),
            arguments=(name,),
        )
        for name, study in STUDIES.items()
    ),
    Exhibit(
        folder="mlp-mnist-benchmark",
        title="How fast the digits are learned",
        claim="Seconds a seed for all six arms, and the share of what a bare matrix product reaches.",
        command=("mlp_mnist", "benchmark"),
        arguments=("--epochs", "1", "--against", SCRIPT, "--against-seeds", SCRIPT_SEEDS),
        file=SCRIPT,
    ),
    *(
        Exhibit(
            folder=f"llm-bridge-benchmark{suffix}",
            title=f"How fast {model} is",
            claim="Pretraining, sampling, a LoRA step and a pass of the audit beside the device's own limits, and "
            "transformers and PEFT with the same weights, prompts and rows.",
            command=("llm_bridge", "benchmark"),
            arguments=(*shape, "--against", "transformers"),
            needs="torch, transformers and peft",
        )
        for model, (suffix, shape) in TIMED.items()
    ),
)
"""Every figure that one command makes."""
