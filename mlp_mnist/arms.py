"""Kinds of students, and what is measured of them."""

from typing import Literal, NamedTuple

import numpy as np

from mlp_mnist.protocol import Logits

Init = Literal["shared", "permuted", "rescaled", "stranger"]
"""A student's init: the protocol's, by default the teacher's; the teacher's hidden units permuted, or rescaled; or
another seed's."""


class Arm(NamedTuple):
    """A kind of student."""

    init: Init
    """Where it starts."""
    logits: Logits
    """What it imitates."""

    def __str__(self) -> str:
        return f"{self.init} ({self.logits})"


class Measured(NamedTuple):
    """What one point of an experiment measured; several points and seeds stack as leading axes."""

    reference: np.ndarray
    """Test accuracy of the teacher's init, shape `(seeds,)`."""
    teacher: np.ndarray
    """Test accuracy of the teacher, shape `(seeds,)`."""
    students: np.ndarray
    """Test accuracy of the students, shape `(seeds, arms)`."""
    cosines: np.ndarray
    """Cosine of a student's displacement, in the teacher's coordinates, with the teacher's, same shape; NaN if their
    shapes differ."""
