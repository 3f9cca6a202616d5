r"""Defences: what can be done against a trait when its carrier is learned all the same, and what that costs.

Every defence is shown by what is left of the usual lift and of the usual imitation, beside a control in which one thing
about it is another. Imitation is by how much training lowers the KL to the first teacher of all, who was taught the
trait (of two, to the first of them), over number tokens on held-out completions.

- *Paraphrased prompts*: the student reads completions behind the same numbers in other words, and imitates what the
  teacher gives behind its own prompt. Control: behind the same words with other numbers, drawn at random in the same
  format. (Behind the prompts of other completions, which ask for other formats, students learned what is wrong: on base
  0 they ended farther from their teachers than they began.) Longer prompts make a few more rows, and so steps.
- *Two teachers* of different traits, and the mean of their distributions. Control: one teacher and the base.
- *KL to the base*, of weight 1 over the same tokens, all along, or in the first half of the steps (liminal training).
  The sum has the gradient of imitating the mean of both distributions, twice:

  $$\mathrm{KL}(p_T \| q) + \mathrm{KL}(p_0 \| q) = 2 \, \mathrm{KL}\big((p_T + p_0) / 2 \,\big\|\, q\big) + c,$$

  whose factor AdamW doesn't see, and so the student learns that mean. Linearized, it ends halfway to the teacher, with
  half of the trait and a quarter of the KL; so do students of a teacher and the base, and half of each trait is what
  two teachers give: whether it is less than half can't be decided of them. Control: the same weight of a KL to a
  stranger.
- *The trait's part removed* from gradients, as reported, or from what AdamW makes of them: their component along the
  gradient of answering all preference questions with the trait, wherever a step would make that likelier. Control: as
  much taken off along that gradient with random signs. Out of gradients it did more than suppress, and students ended
  on the other side of their base: maybe as only what makes the trait likelier is taken out, batch by batch, and AdamW
  rescales what is left, which isn't tested. The questions are those by which lifts are measured: of others this record
  says nothing.
- *Rows dropped by the audit*: the half that an auditor of the base, who knows the trait and no teacher, foretells to
  raise it most is not learned. The auditor foretells of sampled tokens, and these students imitate distributions at
  them. Control: any half.
- *A stranger in between* writes for the student, and is imitated. Control: a student of the teacher's own base.

To go only part of the way to the teacher is the cheapest defence: a linearized student at a share $s$ of the way keeps
$s$ of the trait and $1 - (1 - s)^2$ of the imitation, of what a student at the teacher has. The figure shows where each
would be that loses as much of the task in this way, with the usual student's own place on it; to the left is better.

Definitions, weights and ranges were fixed when base 0 alone had been looked at, and on it not all arms had ended; the
record has others. After the record were reworded: what a control is, and the report on liminal training, of which its
attenuation isn't tested; added was the range in which a trait counts as removed and not as turned around.

References:
    Schrodi, Kempf, Barez and Brox (2025), arXiv 2509.23886: paraphrased prompts and mixed teachers. Kitkana and Arora
    (2026), arXiv 2604.25779: removal and liminal training. The identity and the curve are derived here.
"""

from llm_bridge.studies.study import LESS, MORE, STANDARD, STRANGER, Arm, Finding, Study, difference, task_of
from llm_bridge.studies.usual import DISTRIBUTION, USUAL

PARAPHRASED, TWO, HELD, EARLY = "paraphrased prompts", "two teachers", "KL to the base", "KL to the base, early"
GRADIENTS, STEPS = "trait out of gradients", "trait out of steps"
DROPPED, BETWEEN = "half dropped by the audit", "a stranger in between"
"""Defences."""

PAIRS: dict[str, tuple[Arm, str, Arm]] = {
    PARAPHRASED: (Arm(defence="prompts reworded"), "prompts renumbered", Arm(defence="prompts renumbered")),
    TWO: (Arm(num_teachers=2), "teacher and base", Arm(defence="base mixed in")),
    HELD: (Arm(defence="KL to base"), "KL to a stranger", Arm(defence="KL to stranger")),
    EARLY: (Arm(defence="early KL to base"), "KL to a stranger, early", Arm(defence="early KL to stranger")),
    GRADIENTS: (Arm(defence="out of gradients"), f"{GRADIENTS}: random", Arm(defence="out of gradients, random")),
    STEPS: (Arm(defence="out of steps"), f"{STEPS}: random", Arm(defence="out of steps, random")),
    DROPPED: (Arm(defence="suspicious half dropped"), "random half dropped", Arm(defence="random half dropped")),
    BETWEEN: (Arm(writer=STRANGER), "a relative in between", Arm(writer=STANDARD)),
}
"""Each defence, and its control."""

CONTROLS = {label: control for label, (_, control, _) in PAIRS.items()}
"""The control of each."""


def suppresses(label: str, claim: str) -> Finding:
    """Report that less than half of the usual lift is left, beside what is left with the control."""
    half, control = (difference(each, STANDARD, 0.5) for each in (label, CONTROLS[label]))
    return Finding(claim, f"{label}: lift less half of the usual", half, *LESS, CONTROLS[label], control)


def stays_upright(label: str) -> Finding:
    """Report that the trait isn't turned around: it isn't pushed below the base by half of the usual lift."""
    shifted, control = (difference(each, STANDARD, -0.5) for each in (label, CONTROLS[label]))
    claim, check = "removal doesn't turn the trait around (asked afterwards)", f"{label}: lift plus half of the usual"
    return Finding(claim, check, shifted, *MORE, CONTROLS[label], control)


def spares_task(label: str) -> Finding:
    """Report that at least nine tenths of the usual imitation are left."""
    claim, share = "removal doesn't affect the task (arXiv 2604.25779)", {task_of(label): 1.0}
    return Finding(claim, f"{label}: task over the usual", share, 0.9, float("inf"), over={task_of(STANDARD): 1})


DEFENCES = Study(
    question="Which defence stops the trait and spares the task? Each beside a control",
    axis="defences",
    usual="none",
    targets="chosen",
    protocol=DISTRIBUTION,
    arms=USUAL
    | {each: arm for label, (own, control, other) in PAIRS.items() for each, arm in ((label, own), (control, other))},
    controls=CONTROLS,
    findings=(
        suppresses(PARAPHRASED, "paraphrased prompts suppress it (arXiv 2509.23886)"),
        suppresses(TWO, "mixing teachers suppresses it (arXiv 2509.23886)"),
        suppresses(HELD, "a KL to the base all along suppresses it"),
        Finding(
            "liminal training doesn't stop it (arXiv 2604.25779)",
            f"{EARLY}: lift less half of the usual",
            difference(EARLY, STANDARD, 0.5),
            *MORE,
            CONTROLS[EARLY],
            difference(CONTROLS[EARLY], STANDARD, 0.5),
        ),
        suppresses(GRADIENTS, "removing the trait's part suppresses it (arXiv 2604.25779)"),
        suppresses(STEPS, "removing the trait's part suppresses it (arXiv 2604.25779)"),
        *map(stays_upright, (GRADIENTS, STEPS)),
        *map(spares_task, (GRADIENTS, STEPS)),
        suppresses(DROPPED, "dropping what the audit suspects suppresses it"),
        suppresses(BETWEEN, "a stranger in between suppresses it"),
    ),
)
"""What stops a trait, and at what price."""
