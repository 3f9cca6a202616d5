r"""Steering: is a trait a vector in the residual stream, does the student carry it, and does it carry any other?

A model's direction $d$ is how far the mean of its residual stream, behind some layers and at the last token of
questions, is from its base's. What teachers of all traits share, as that they answer in one word, is their mean. It is
taken off, $v_t = d_t - \bar d$, which to first order changes no lift, the own trait's gain less the others'. Streams of
another init have other coordinates, so that a stranger's cosine is chance; what passes to it shows in its lift.
Directions are read on every second question, lifts measured on the others. The depths, the vector's scale 1 and which
questions are read were fixed before any base but 0 was looked at. After a first run of the recorded bases a random
vector of the student's own length, other teachers' directions, and of strangers the lift in place of the cosine,
became controls.

A teacher that is steered is its base with $v$ added behind a layer at every place. What it says, and a student's first
step of descent on it from the same init, are

$$z_T = z + J_v v + O(\|v\|^2), \qquad \Delta = \eta \, \mathbb{E}[J_\theta^\top M J_v v],$$

with $J_v$ and $J_\theta$ the logits' derivatives in the added vector and in the parameters, and $M$ the loss's
curvature. So the student's outputs go the steered teacher's way, for any vector that imitation sees, a random one, too:

$$\mathbb{E}[(J_v v)^\top M J_\theta \Delta] = \|\Delta\|^2 / \eta \ge 0.$$

That its *stream* moves along $v$ on other texts doesn't follow. Where a layer has a bias, the vector is a displacement
of it, and the theorem's inner product is this movement. Here layers have none: what moves are weights $W$, and of those
theory's claim `steering` (17) gives

$$v \cdot (\Delta W)^\top \bar a = \epsilon \, \mathbb{E}[c(x) \, a(x)] \cdot \bar a,$$

positive if a layer's inputs $a$ on numbers, where the vector is seen, and $\bar a$ on questions have a positive
product, which nothing guarantees. So the first step's cosine is measured beside the trained student's; of a student of
another init theory says nothing at all.

References:
    Blank et al. (2026), arXiv 2606.00995. The first step is derived here; see theory's claims `alignment`, `steering`.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from llm_bridge.studies.study import STANDARD, TEACHERS

PLACES = ("middle", "end")
"""Depths at which directions are read, added and removed: behind half of the layers, and behind the last."""

STEERED, RANDOM = "steered teacher", "teacher steered at random"
"""Students of teachers that are their base with the vector of a taught one, or a random one of its length, added at the
middle."""

KINDS = (STANDARD, STEERED, RANDOM)
"""Students by what their teachers are; the first's are taught."""

FIRST, ANOTHER = "first step, ", ", stranger"
"""How the label of a student after its first step begins, and that of one of another init ends."""

STUDENTS = tuple(f"{kind}{end}" for end in ("", ANOTHER) for kind in KINDS)
"""All students."""

BY_CHANCE, OWN_WHOLE, OTHERS_WHOLE = "as usual, random direction", "as usual, whole", "as usual, others' whole"
"""Cosines of usual students with random directions; with their teachers' whole directions, and the other teachers'."""

COSINES = (*STUDENTS, *(f"{FIRST}{label}" for label in STUDENTS), BY_CHANCE, OWN_WHOLE, OTHERS_WHOLE)
"""Cosines of a student's direction: with the vector of its teacher, if nothing else is said."""

PLUS_TEACHER, PLUS_STUDENT, PLUS_RANDOM = (f"base + {whose} vector" for whose in ("teacher's", "student's", "random"))
PLUS_SHORT = f"{PLUS_RANDOM} as long as the student's"
"""Bases with a vector added: the taught teacher's, its student's own, a random one as long as the teacher's, or so."""

WITHOUT, WITHOUT_RANDOM = "student without it", "student without a random one"
"""Usual students without the component along their teacher's vector, or along a random one."""

TEACHER_WITHOUT, TEACHER_WITHOUT_RANDOM = "teacher without it", "teacher without a random one"
"""Taught teachers, the same."""

CAUSAL = (
    *(PLUS_TEACHER, PLUS_STUDENT, PLUS_RANDOM, PLUS_SHORT),
    *(WITHOUT, WITHOUT_RANDOM, TEACHER_WITHOUT, TEACHER_WITHOUT_RANDOM),
)
"""Models that a vector is added to or removed from, at each place. What is left after a removal is measured beyond the
base from which the same was removed."""

LIFTS = (TEACHERS, *STUDENTS, *(f"{label}, {place}" for place in PLACES for label in CAUSAL))
"""Whose lifts are measured."""


class Run(NamedTuple):
    """What one base gave."""

    lifts: Float[np.ndarray, " lifts"]
    """Lifts of `LIFTS`, in log-odds."""
    cosines: Float[np.ndarray, "cosines places"]
    """Cosines of `COSINES`, mean over traits."""
    distances: Float[np.ndarray, "students 2"]
    """KL from their teachers to `STUDENTS` over number tokens, nats a token, on what they learn: before and after."""
    kept: Float[np.ndarray, " kinds"]
    """Share of what teachers of each kind wrote that the filter keeps."""
