r"""Chains: each student's completions teach the next, which starts from the base again; and two teachers at once.

Linearized at the base, a student that learns from one whose parameters are $\Delta$ away ends at $P \Delta$, with
$P = I - (I - \eta K)^t$ symmetric and between 0 and 1 (theory's claim `many-steps`): generation $g$ is at
$P^g \Delta_T$. If the trait's gradient is along $\Delta_T$, as after one step of teaching, its lift is

$$\ell_g \propto \Delta_T^\top P^g \Delta_T = \int \lambda^g \, d\mu(\lambda), \qquad \mu \ge 0 \text{ on } [0, 1].$$

- *A power of the first share*, $\ell_g = \ell_1 \rho^{g-1}$ with $\rho = \ell_1 / \ell_0$, is what one generation alone
  foretells. It is right if all of $\mu$ is at one $\lambda$.
- *A bound*: moments are log-convex (Cauchy and Schwarz: $\ell_g^2 \le \ell_{g-1} \ell_{g+1}$), so that no generation
  loses a larger share than the one before it did, and the power is the least that is left. Where $P$ is a projection
  nothing is lost after the first generation.

Teachers here take many steps of AdamW and are far from the base, so that neither is guaranteed. A student of two
teachers is at $P (\Delta_1 + \Delta_2) / 2$: it has half of each trait, which is the mean over the two of what their
single students have. All lifts are those beyond the other traits, as own and other traits drift alike.

References:
    Derived here; Cloud et al. (2025), arXiv 2507.14805, for a single generation.
"""

from itertools import pairwise

from llm_bridge.studies.study import ABOUT, LESS, MORE, STANDARD, STRANGER, TEACHERS, Arm, Finding, Study, difference
from llm_bridge.studies.usual import DISTRIBUTION, USUAL

GENERATIONS = (TEACHERS, STANDARD, *(f"generation {number}" for number in range(2, 6)))
"""Generations, from the teachers on."""

TWO, PAST = "two teachers", "after a stranger"
"""Students of two teachers; and what is said of arms that share the teachers' init, though a writer in between doesn't.
"""


def follows_power(number: int) -> Finding:
    """Compare a generation with what the first alone foretells."""
    claim = "a power of the share that the first generation keeps: lift_g = lift_1 ρ^(g−1), ρ = lift_1 / lift_0"
    check = f"{GENERATIONS[number]}: measured lift over the predicted"
    return Finding(claim, check, {GENERATIONS[number]: 1.0}, *ABOUT, over={STANDARD: number, TEACHERS: 1 - number})


def keeps_more(number: int) -> Finding:
    """Compare the share that a generation keeps with the share that the one before it kept."""
    before, last, this = GENERATIONS[number - 2 : number + 1]
    claim = "a bound of the linearized student: no generation keeps a smaller share than the one before it"
    return Finding(claim, f"{this}: share kept over that before", {this: 1.0}, 1.0, MORE[1], over={last: 2, before: -1})


def loses_half(label: str, number: int, claim: str) -> Finding:
    """Report that an arm has less than half of the lift of its generation without strangers, which is its control."""
    own = GENERATIONS[number]
    check = f"{label}: lift less half of that of {own}"
    return Finding(claim, check, difference(label, own, 0.5), *LESS, f"half of {own} itself", {own: 0.5})


CHAINS = Study(
    question="Does the trait outlive its teacher? Students of students, through strangers, and of two teachers at once",
    axis="who wrote what is learned",
    usual="generation 1",
    targets="chosen",
    protocol=DISTRIBUTION,
    arms=USUAL
    | {label: Arm(writer=writer) for writer, label in pairwise(GENERATIONS[1:])}
    | {
        "generation 5, stranger": Arm(writer="generation 4", stranger=True),
        f"generation 2 {PAST}": Arm(writer=STRANGER),
        "generation 2, stranger": Arm(writer=STANDARD, stranger=True),
        f"generation 3 {PAST}": Arm(writer="generation 2, stranger"),
        TWO: Arm(num_teachers=2),
        f"{TWO}, stranger": Arm(num_teachers=2, stranger=True),
    },
    findings=(
        *map(follows_power, range(2, 6)),
        *map(keeps_more, range(3, 6)),
        Finding(
            "the trait is there after five generations",
            "generation 5: lift",
            {"generation 5": 1.0},
            *MORE,
            "strangers",
            {"generation 5, stranger": 1.0},
        ),
        loses_half("generation 5, stranger", 5, "a chain that ends in another base loses the trait"),
        loses_half(f"generation 2 {PAST}", 2, "a chain through another base loses the trait"),
        loses_half(f"generation 3 {PAST}", 3, "a chain through another base loses the trait"),
        Finding(
            "superposition: of two teachers' traits each is half (theory's claim 12)",
            "two teachers: lift over the mean of the two single students'",
            {TWO: 2.0},
            *ABOUT,
            over={STANDARD: 1},
        ),
    ),
)
"""What becomes of a trait over generations."""
