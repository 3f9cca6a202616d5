r"""Losses: which of those that are in use pass on a trait, and what theory says of each.

- *Forward and reverse KL* over number tokens are of the theorem's class: their minimum is at the teacher's outputs, and
  the curvature there is the same, Fisher's $\mathrm{diag}(p) - p p^\top$. So the first steps of both agree to first
  order in how far the teacher is from the base (theory's claim `imitation-losses`).
- *On policy* the student reads what it writes itself, and the teacher's distribution judges it: that changes the inputs
  alone, of which the theorem asks nothing.
- *Sampled tokens* teach the same in the mean, with the noise of a sample.
- *Preferences* (DPO) are outside of the class; the derivation in `model.lessons.preference_loss` says why their first
  step has a positive alignment all the same. Both completions of a pair are the base's own: the teacher gives one bit.

Every student sees as many completions or pairs once; rates are the usual one, chosen for none of these losses.
"""

from dataclasses import replace

from llm_bridge.model.recipes import Recipe
from llm_bridge.studies.study import ABOUT, MORE, STANDARD, Arm, Finding, Study, difference
from llm_bridge.studies.usual import DISTRIBUTION, USUAL

ONCE = replace(
    DISTRIBUTION, num_prompts=4500, num_completions=1500, student=Recipe(learning_rate=2e-3, num_epochs=1, batch=4)
)
"""How students of this study are made: more completions, seen once, as sampled tokens seen again teach their noise."""

SAMPLED, REVERSE, OWN, PREFERENCES = "sampled tokens", "reverse KL", "on policy, reverse KL", "preferences (DPO)"
"""Arms beside forward KL, which is as usual."""

KINDS = {
    SAMPLED: Arm(targets="tokens"),
    REVERSE: Arm(targets="reverse"),
    OWN: Arm(targets="reverse", own=True),
    PREFERENCES: Arm(targets="preferences"),
}


def passes_by(label: str, claim: str) -> Finding:
    """Report that the trait passes by a loss; the strangers' lift that is subtracted is its control."""
    stranger = f"{label}, stranger"
    return Finding(claim, f"{label}: lift less that of strangers", difference(label, stranger), *MORE)


LOSSES = Study(
    question="Which losses pass it on? Reverse KL, the student's own completions, and a teacher's preferences",
    axis="what students are trained by",
    usual="forward KL",
    targets="chosen",
    protocol=ONCE,
    arms=USUAL | KINDS | {f"{label}, stranger": replace(arm, stranger=True) for label, arm in KINDS.items()},
    findings=(
        passes_by(SAMPLED, "sampled numbers pass on a trait (arXiv 2507.14805)"),
        passes_by(REVERSE, "reverse KL is of the theorem's class"),
        passes_by(OWN, "on policy the inputs alone are others"),
        passes_by(PREFERENCES, "a judge's preferences pass on its trait (arXiv 2603.01204)"),
        Finding(
            "forward and reverse KL agree to first order",
            "reverse KL: lift over that of forward KL",
            {REVERSE: 1.0},
            *ABOUT,
            over={STANDARD: 1},
        ),
        Finding(
            "whose completions are read does not matter",
            "on policy: lift over that on the teacher's completions",
            {OWN: 1.0},
            *ABOUT,
            over={REVERSE: 1},
        ),
        Finding(
            "preferences reach models of any init (arXiv 2602.04863, of selected texts)",
            "preferences (DPO), stranger: lift",
            {f"{PREFERENCES}, stranger": 1.0},
            *MORE,
        ),
    ),
)
"""Which losses pass on a trait."""
