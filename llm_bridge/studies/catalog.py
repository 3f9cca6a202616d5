"""The studies: their arms, and what others found that each tests; some have files of their own.

Arms, definitions and findings were committed before the recorded runs began. Where students imitate
the teacher's distribution over number tokens instead of samples of it, they learn what infinitely many samples would
teach, so that a few hundred completions suffice.
"""

from typing import Any

from llm_bridge.model.recipes import Optimizer
from llm_bridge.studies.chains import CHAINS
from llm_bridge.studies.defences import DEFENCES
from llm_bridge.studies.losses import LOSSES
from llm_bridge.studies.rates import RATES
from llm_bridge.studies.study import LESS, MORE, STANDARD, STRANGER, Arm, Finding, Part, Study, Tokens, difference
from llm_bridge.studies.usual import DISTRIBUTION, SAMPLED, USUAL


def beside_random(label: str, **tokens: Any) -> dict[str, Arm]:
    """Make an arm of tokens and its control, the one of as many random tokens."""
    return {label: Arm(tokens=Tokens(**tokens)), f"{label}: random": Arm(tokens=Tokens(**tokens, random=True))}


def less_than_half(claim: str, subset: str) -> Finding:
    """Report that without some tokens less than half of the lift is left, with random tokens as control."""
    half, random = (difference(label, STANDARD, 0.5) for label in (subset, f"{subset}: random"))
    control = "as many random tokens left out"
    return Finding(claim, f"{subset}: lift less half of the usual", half, *LESS, control, random)


def more_than_random(claim: str, subset: str) -> Finding:
    """Report that some tokens carry more of the trait than as many random ones."""
    check = f"{subset}: lift less that of as many random tokens"
    return Finding(claim, check, difference(subset, f"{subset}: random"), *MORE)


DIVERGENCE = Study(
    question="Do the tokens carry the trait at which teachers of different traits would have written something else?",
    axis="tokens of the teacher's completions that are learned",
    usual="all tokens",
    targets="tokens",
    protocol=SAMPLED,
    arms=USUAL
    | beside_random("divergent left out", chosen="divergent", left_out=True)
    | beside_random("divergent alone", chosen="divergent")
    | beside_random("largest tenth left out", chosen="largest", share=0.1, left_out=True)
    | beside_random("largest tenth alone", chosen="largest", share=0.1),
    findings=(
        less_than_half("without divergence tokens little passes (arXiv 2509.23886)", "divergent left out"),
        more_than_random("divergence tokens carry the trait (arXiv 2509.23886)", "divergent alone"),
        less_than_half("graded: without the tenth of largest KL little passes", "largest tenth left out"),
        more_than_random("graded: the tenth of largest KL carries the trait", "largest tenth alone"),
    ),
)
"""Which tokens carry the trait."""

RANDOM_LAYERS = {f"7 random maps, draw {draw}": 1 / 3 for draw in (1, 2, 3)}
"""Arms with as many maps as a layer has, each of a layer that is drawn at random, and their weights in a mean."""

LAYERS = Study(
    question="Which layer carries the trait? Adapters on one layer, or on as many maps drawn from both layers",
    axis="adapters that are trained",
    usual="both layers",
    targets="chosen",
    protocol=DISTRIBUTION,
    arms=USUAL
    | {"layer 1 alone": Arm(part=Part(layers=(0,))), "layer 2 alone": Arm(part=Part(layers=(1,)))}
    | {label: Arm(part=Part(random_layers=draw)) for draw, label in enumerate(RANDOM_LAYERS)},
    findings=(
        Finding(
            "a single early layer is enough (arXiv 2509.23886)",
            "layer 1 alone: lift less half of the usual",
            difference("layer 1 alone", STANDARD, 0.5),
            *MORE,
            "as many random maps",
            RANDOM_LAYERS | {STANDARD: -0.5},
        ),
        Finding(
            "early layers matter most (arXiv 2509.23886)",
            "lift of layer 1 alone less that of layer 2 alone",
            difference("layer 1 alone", "layer 2 alone"),
            *MORE,
        ),
        Finding(
            "an early layer carries more than its size tells",
            "layer 1 alone: lift less that of as many random maps",
            {"layer 1 alone": 1.0} | {label: -weight for label, weight in RANDOM_LAYERS.items()},
            *MORE,
        ),
    ),
)
"""Where in the model the trait is learned."""

RANKS = (1, 2, 4, 16, 32)
"""Ranks of adapters beside the usual 8; a matrix here has 64 rows or columns."""

WHOLE_RATE = 3e-4
"""The rate at which weights themselves are trained, as where the gallery trains them all."""


def of_rank(rank: int) -> dict[str, Any]:
    """Change the rank, and with it the scale, so that a step moves the weights about as far at every rank.

    The scale, alpha over rank, falls with the root of the rank and is 1 at rank 8.

    References:
        Kalajdzievski (2023), arXiv 2312.03732: rank-stabilized LoRA.
    """
    return {"rank": rank, "alpha": (8 * rank) ** 0.5}


RANK = Study(
    question="Is it an artifact of low rank? Adapters of many ranks, random entries of all matrices, and all weights",
    axis="what is trained",
    usual="rank 8",
    targets="chosen",
    protocol=DISTRIBUTION,
    arms=USUAL
    | {f"rank {rank}": Arm(recipe=of_rank(rank)) for rank in RANKS}
    | {
        "random entries, as many as rank 8": Arm(
            recipe={"trained": "layers", "learning_rate": WHOLE_RATE}, part=Part(random_like_rank=8)
        ),
        "weights of all layers": Arm(recipe={"trained": "layers", "learning_rate": WHOLE_RATE}),
        "all weights": Arm(recipe={"trained": "everything", "learning_rate": WHOLE_RATE}),
    },
    findings=(
        Finding(
            "an inverted U over the rank (arXiv 2606.00831)",
            "lift of rank 8 less that of rank 1",
            difference(STANDARD, "rank 1"),
            *MORE,
        ),
        Finding(
            "an inverted U over the rank (arXiv 2606.00831)",
            "lift of rank 8 less that of rank 32",
            difference(STANDARD, "rank 32"),
            *MORE,
        ),
        Finding(
            "it vanishes where all weights are trained (arXiv 2606.00831)",
            "all weights: lift less half of the usual",
            difference("all weights", STANDARD, 0.5),
            *LESS,
            "random entries, as many as rank 8",
            difference("random entries, as many as rank 8", STANDARD, 0.5),
        ),
        Finding(
            "low rank carries more than its size tells",
            "lift of rank 8 less that of as many random entries",
            difference(STANDARD, "random entries, as many as rank 8"),
            *MORE,
        ),
    ),
)
"""How much of the model must be trained."""


def beside_strangers(label: str, optimizer: Optimizer) -> dict[str, Arm]:
    """Make an arm of an optimizer and its control, strangers with the same recipe; teachers keep AdamW."""
    recipe = {"optimizer": optimizer, "learning_rate": RATES[optimizer]}
    return {label: Arm(recipe=recipe), f"{label}, stranger": Arm(recipe=recipe, stranger=True)}


def passes_with(claim: str, label: str) -> Finding:
    """Report that the trait passes with an optimizer; the strangers' lift that is subtracted is its control."""
    stranger = f"{label}, stranger"
    return Finding(claim, f"{label}: lift less that of strangers", difference(label, stranger), *MORE)


def depends_on(label: str) -> Finding:
    """Report that with another optimizer than AdamW less than half of the lift is left, with strangers as control."""
    half, strangers = difference(label, STANDARD, 0.5), difference(f"{label}, stranger", STRANGER, 0.5)
    claim, check = "it depends on the optimizer (replications at 7B)", f"{label}: lift less half of the usual"
    return Finding(claim, check, half, *LESS, "the same of strangers", strangers)


OPTIMIZERS = Study(
    question="Does it take Adam? Students of other optimizers, at rates chosen for how well they imitate",
    axis="optimizers of students (as usual: AdamW)",
    usual="AdamW",
    targets="chosen",
    protocol=DISTRIBUTION,
    arms=USUAL
    | beside_strangers("gradient descent", "sgd")
    | beside_strangers("momentum", "momentum")
    | beside_strangers("signs of the gradient", "sign")
    | beside_strangers("Lion", "lion"),
    findings=(
        passes_with("steps of descent move a relative to its teacher (arXiv 2507.14805)", "gradient descent"),
        passes_with("momentum only adds up such steps", "momentum"),
        passes_with("it passes though no theorem promises it of signs (theory's claim 9)", "signs of the gradient"),
        passes_with("it passes though no theorem promises it of signs (theory's claim 9)", "Lion"),
        depends_on("gradient descent"),
        depends_on("signs of the gradient"),
    ),
)
"""Whether the students' optimizer matters. Teachers take AdamW; how rates were chosen is in `studies.rates`."""

STUDIES = {
    "divergence": DIVERGENCE,
    "layers": LAYERS,
    "rank": RANK,
    "optimizers": OPTIMIZERS,
    "chains": CHAINS,
    "losses": LOSSES,
    "defences": DEFENCES,
}
"""All studies."""
