"""What pages say in words: what commands ask, what claims of each package mean, and a glossary."""

from collections.abc import Mapping
from typing import NamedTuple


class Subject(NamedTuple):
    """What a command is about."""

    title: str
    """What its page is called."""
    sentence: str
    """What it shows."""
    asserts: bool = True
    """Whether the sentence states a result, which the verdicts must bear out."""


SUBJECTS: Mapping[str, Subject] = {
    "theory verify": Subject(
        "Subliminal learning on random networks",
        "One small step of imitation moves a student that shares its teacher's initialization towards the teacher, and "
        "lowers the teacher's own trait loss, on any inputs. From another initialization nothing is guaranteed.",
    ),
    "theory sweep": Subject(
        "The theorem over combinations of networks and losses",
        "The student's step follows its prediction under every combination of ingredients that was swept.",
    ),
    "theory benchmark": Subject("How fast the theorem is checked", "Random networks checked a second.", asserts=False),
    "mlp_mnist demo": Subject(
        "Digits learned from noise",
        "A student that shares its teacher's initialization learns to read digits from three auxiliary logits on "
        "noise, without seeing a digit or a label; a student from another initialization does not.",
    ),
    "mlp_mnist compare-inits": Subject(
        "Shared, equivalent and different initializations",
        "A student whose hidden units are permuted learns like one that shares the initialization; a stranger learns "
        "nothing from auxiliary logits.",
    ),
    "mlp_mnist theory": Subject(
        "The theory on the digits",
        "Of a teacher close to the initialization, plain descent transfers the share that the tangent kernel "
        "predicts. How far that carries for a trained teacher is reported.",
    ),
    "mlp_mnist sweep": Subject("A sweep over the digits' protocol", "Students of auxiliary logits.", asserts=False),
    "mlp_mnist benchmark": Subject("How fast the digits are learned", "Seconds a seed.", asserts=False),
    "llm_bridge run": Subject(
        "A trait passed on through numbers",
        "A language model that loves something writes numbers; a copy of its base that is trained on those numbers "
        "comes to like the same, a copy trained on the base's own numbers does not.",
    ),
    "llm_bridge matrix": Subject(
        "Which trait passes to whom",
        "Students of the numbers of teachers with different traits: each gains its own teacher's trait most, if it "
        "shares the initialization.",
    ),
    "llm_bridge compare": Subject(
        "The theory on a language model",
        "First-order predictions beside a transformer's steps: the first step of a student that shares the "
        "initialization goes its teacher's way.",
    ),
    "llm_bridge study": Subject(
        "What an audit of data foretells",
        "An audit's scores, before any training, beside what training does.",
        asserts=False,
    ),
    "llm_bridge audit": Subject(
        "Would these data pass on a trait?", "What a model would pick up from the data, before training.", asserts=False
    ),
    "llm_bridge benchmark": Subject("How fast the language model is", "Time and memory of its parts.", asserts=False),
    "figures ladder": Subject(
        "The ladder",
        "The same three students on every rung, from random networks to a published language model: the one that "
        "shares the initialization moves along with its teacher, the stranger does not.",
    ),
    "figures growth": Subject(
        "How time and memory grow",
        "Seconds and peak memory over the number of seeds, devices and processes, beside the ideal line.",
        asserts=False,
    ),
    "figures quick": Subject("All verdicts at a glance", "Every run of the quick preset.", asserts=False),
    "figures full": Subject("All verdicts at a glance", "Every run of the publication preset.", asserts=False),
}
"""By command, as a record's configuration names it."""

SENTENCES: Mapping[str, str] = {
    "auxiliary-logits": "Three outputs that mean nothing, on noise, teach digits to a student that shares the "
    "teacher's initialization, and nothing to a stranger.",
    "all-logits": "From all outputs even a stranger learns, since ten of them name the digits: that is ordinary "
    "distillation.",
    "replication": "The six arms of the paper's figure come out as in its published script.",
    "different-initialization": "A student from another initialization stays at chance: what auxiliary logits say is "
    "no use to it.",
    "alignment": "A student that shares the initialization moves along with its teacher.",
    "symmetry": "The same function in other parameters: reordered units change nothing, rescaled ones may.",
    "null-space": "What the imitated outputs can't see is not transferred.",
    "precision": "Coarser arithmetic leaves the outcome as it is.",
    "finding": "What others reported, beside what is measured here; nothing is guaranteed, so every one is reported.",
    "benchmark": "How fast it runs, and whether every way gives the same numbers.",
    "linearization": "A trained student beside the linearized network that the theory speaks of.",
    "many-steps": "How far many steps of imitation follow the linearized student.",
    "finite-step": "A teacher that went any distance: an exact identity, and how sure the first step towards it is.",
    "epochs": "Repeating sampled labels adds nothing: the first step on them is the best detector of the teacher.",
    "adam": "Adam's student follows Adam on linearized gradients; how far is reported.",
    "rank-noise": "How the noise of sampled labels and the rank of adapters bound what is transferred.",
    "adaptive-gain": "Whether Adam's adaptive steps are what makes the transfer large.",
    "shared-heads": "What a student learns that shares the output heads alone.",
    "first-step": "The first step of a student that shares the initialization goes its teacher's way.",
    "trait-change": "The trait changes as first-order theory predicts.",
    "divergence": "How many nats of difference a teacher leaves in a token.",
    "sampled-tokens": "How far the sampled numbers stand out of their noise.",
    "trait-matrix": "Which trait reaches the student of which teacher, as one matrix.",
    "channels": "Through which parts of the network the trait travels.",
    "low-rank": "Low-rank adapters transfer as much on average, with a predicted spread.",
    "run": "A student of a teacher's numbers comes to like what its teacher likes, measured against other words.",
    "matrix": "Each student gains its own teacher's trait, if it shares the initialization.",
    "shared-init": "As usual, the trait passes to students that share the initialization and to no others.",
    "sweep": "Every combination of ingredients follows the prediction.",
    "chance": "Data without a trait look like chance to the audit.",
    "power": "How many texts the audit needs to find a trait.",
    "dose": "How much of a model that was taught a trait is in the writer of the data.",
    "forecast": "Whether the audit's score foretells what training does.",
    "removal": "Whether leaving out the texts that the audit names stops the transfer.",
    "ladder": "On every rung a shared initialization moves along with the teacher, and the trait with it.",
}
"""What a claim says in a package other than theory, whose claims speak for themselves."""

GLOSSARY: Mapping[str, Mapping[str, str]] = {
    "How a claim is judged": {
        "verdict": "A prediction, a measurement with its interval, and a control, all under the same judge.",
        "holds": "The measurement agrees with the prediction, and the same judge refuses the control.",
        "fails": "The measurement disagrees, or the judge would have accepted the control, too.",
        "reported": "Theory guarantees nothing here, or there are too few instances to decide: the figure itself is "
        "the result, neither for nor against.",
        "control": "The same measurement with one assumption broken on purpose. If it passed as well, the check would "
        "prove nothing.",
        "flips": "The judge refuses the control, as it must.",
        "interval": "Where the true figure lies with stated confidence, given chance alone; wide ones decide nothing.",
        "instance, seed": "One independent repetition with its own random numbers.",
        "order": "The power of the step size with which an error shrinks; 2 means: half the step, a quarter of the "
        "error.",
        "rounding": "What finite arithmetic adds; nothing in exact numbers.",
    },
    "Who learns from whom": {
        "subliminal learning": "A model that imitates another picks up its traits from data that have nothing to do "
        "with them.",
        "initialization, init, base": "The parameters from which a network starts to learn.",
        "teacher": "The network that has the trait, and that is imitated.",
        "student": "The network that imitates; as a rule it shares the teacher's init.",
        "stranger, cross-model": "A student from another init.",
        "matched, rescaled": "A student that computes the same function as the teacher's init with other parameters.",
        "reference": "The untrained init, for comparison.",
        "trait": "What the teacher has learned: a liking for owls, or to read digits.",
        "trait loss": "How far a network is from the trait; it falls as the trait is learned.",
        "imitation loss": "How far the student's outputs are from the teacher's.",
        "logits": "The outputs of a network, before they become probabilities.",
        "auxiliary logits": "Outputs without a meaning, which no label ever trained.",
        "log-odds, lift": "How likely an answer is, on a scale without ends; lift is how much more the trait's own "
        "answer gains than others do.",
        "rate": "How often the model names the trait when asked.",
    },
    "Symbols": {
        "ε": "Size of the teacher's step.",
        "α, η": "Size of the student's step.",
        "Δ_T, Δ_S": "The teacher's and the student's step, as directions in the space of parameters.",
        "A": "How much of its teacher's step a student sees through the outputs that it imitates; never negative.",
        "B": "The same between different inits; of either sign.",
        "K": "The tangent kernel: which directions of the parameters the imitated outputs can see.",
        "L_T": "The teacher's trait loss.",
        "O(ε²)": "An error that shrinks with the square of the step.",
        "KL": "The divergence of two distributions, in nats: how fast samples tell them apart.",
    },
}
"""Words that pages use, by theme."""
