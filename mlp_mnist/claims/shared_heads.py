r"""Claim shared-heads on this rung: how many auxiliary logits teach a student that shares the heads alone.

Of what imitated features would teach the classes, $m$ auxiliary logits teach a share $m/(m + \kappa)$ of its square, to
first order and under squared error, with

$$\kappa = 2\,\|\mathrm{sym}\,T\|_F^2/\|\bar u\|^2, \qquad \bar u_c(x) = \mathrm{tr}\,T_c(x), \qquad
T_c(x) = 2\,\mathbb{E}_{x'}\big[J_h(x')\,J_c(x)^\top \delta(x')^\top\big].$$

$\kappa$ is computed here from the student's body, the class head and the trained teacher's features on the noise; it
doesn't depend on $m$. The protocol's softmax of nearly uniform probabilities is squared error but for a common shift of
the logits, which takes one of the $m$.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mlp_mnist.images import decode
from mlp_mnist.predictions import Case
from mlp_mnist.verdicts import JOINT_CONFIDENCE, LEAST_SEEDS, Checks
from theory.claims.shared_heads import cosine, tangent_transfer
from theory.problem import Params
from theory.runs.checks import Check, mean

NUM_READ = 20
"""Images on which the classes are read."""

NUM_IMITATED = 250
"""Images of noise on which the features are imitated."""

MEASURED = {
    "shared-heads/spread": "κ of the trained teacher's features and a student of another body",
    "shared-heads/limit": "cosine of what imitated features teach with the teacher's change of the classes",
}
"""What is measured, for each seed."""


def features(hidden: Params, images: jax.Array) -> jax.Array:
    """What the heads read, `(images, units)`."""
    values = images.T
    for layer in hidden.values():
        values = jax.nn.relu(layer["kernel"] @ values + layer["bias"][:, None])
    return values.T


@jax.jit
def spread_and_limit(case: Case, body: Params) -> tuple[jax.Array, jax.Array]:
    r"""Compute $\kappa$, and the cosine that imitated features would reach, for a student with another body."""
    noise, images = decode(case.noise[:NUM_IMITATED]), decode(case.images[:NUM_READ])
    init, learned = case.init["hidden"], optax.tree.add(case.init, case.displacement)["hidden"]
    head = case.init["classes"]["kernel"]

    def classes(hidden: Params) -> jax.Array:
        return jnp.ravel(features(hidden, images) @ head.T)

    change = features(learned, noise) - features(init, noise)
    transfer = tangent_transfer(classes, lambda hidden: features(hidden, noise), body, change)
    imitated = jnp.trace(transfer, axis1=1, axis2=2)
    symmetric = (transfer + transfer.swapaxes(1, 2)) / 2
    spread = 2 * jnp.sum(symmetric**2) / (imitated @ imitated)
    return spread, cosine(imitated, classes(learned) - classes(init))


def measure(case: Case, body: Params) -> dict[str, np.ndarray]:
    """Compute them for one seed."""
    names = (name.removeprefix("shared-heads/") for name in MEASURED)
    return {name: np.asarray(value) for name, value in zip(names, spread_and_limit(case, body), strict=True)}


def checks(numbers: Sequence[int]) -> Checks:
    """Both are reports; the study `shared-heads` reports what its students need."""
    del numbers
    rows: tuple[tuple[str, str, Any], ...] = (
        ("κ: so many auxiliary logits teach half of what imitated features would", "units + 1 at random", "spread"),
        ("cosine of what imitated features teach with the teacher's change of the classes", "no guarantee", "limit"),
    )
    for says, expected, name in rows:
        yield (
            "shared-heads",
            Check(
                says=f"{says}, student that shares the heads alone",
                predicted=expected,
                of=lambda evidence, name=name: [evidence.cases[f"shared-heads/{name}"]],
                by=mean(2, JOINT_CONFIDENCE),
                least=LEAST_SEEDS,
            ),
        )
