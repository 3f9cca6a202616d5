r"""Claim many-steps on this rung: what linearized students do, computed before training and held against trained ones.

A student whose init $\theta^0$ is the teacher's, and whose teacher is displaced by $\Delta_T$, is to first order one of

$$f(\theta^0) + J d, \qquad d \leftarrow d - \text{step}\big(K_b\,(d - \Delta_T)\big), \qquad d = 0 \text{ at first},$$

with $K_b$ the kernel $\mathbb{E}[J^\top M J]$ of a batch and *step* the optimizer's rule: for gradient descent it
says so, and with all images in every batch $d_t = [I - (I - \eta K)^t]\,\Delta_T$; for Adam it is the same expansion
of the gradient with no theorem about its sign. Both are computed here from the init and $\Delta_T$ alone.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from mlp_mnist import network
from mlp_mnist.data import Dataset
from mlp_mnist.distillation import accuracy, imitation_loss
from mlp_mnist.images import decode
from mlp_mnist.protocol import LOGITS, NUM_CLASSES, Protocol
from mlp_mnist.training import State, train_epoch
from theory.losses import on_outputs
from theory.predictions import label_response
from theory.problem import Instance, Params, Problem, imitation_descent, inner_product, trait_descent
from theory.tangent_kernel import Tridiagonal, kernel_product, train_student, tridiagonalize

CUTOFF = 1e-5
"""Eigenvalues below this share of the largest count as zero in the limit of many steps."""


class Case(NamedTuple):
    """One seed with one number of auxiliary logits; parameters are counted from the init, where float32 is finest."""

    init: Params
    r"""The shared init $\theta^0$."""
    displacement: Params
    r"""The teacher's displacement $\Delta_T$; zero in the auxiliary head."""
    noise: jax.Array
    """A sample of the student's images as stored, shape `(sampled, pixels)`."""
    images: jax.Array
    """A sample of the teacher's images as stored, shape `(sampled, pixels)`."""
    labels: jax.Array
    """Their classes, shape `(sampled,)`."""


def pose(protocol: Protocol, case: Case) -> tuple[Problem, Instance]:
    """State the student's training in the theory's terms; both start at displacement zero from the init."""

    def apply(moved: Params, inputs: jax.Array) -> jax.Array:
        return network.apply(optax.tree.add(case.init, moved), inputs)

    def trait_loss(moved: Params, key: jax.Array) -> jax.Array:
        outputs = apply(moved, decode(case.images))[:, :NUM_CLASSES]
        return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(outputs, case.labels))

    start = optax.tree.zeros_like(case.init)
    inputs = decode(case.noise).astype(start["classes"]["bias"].dtype)
    problem = Problem(
        name="auxiliary logits",
        apply=apply,
        initialize=lambda key: start,
        draw_inputs=lambda key: inputs,
        imitation_loss=on_outputs(
            imitation_loss(protocol), range(NUM_CLASSES, NUM_CLASSES + len(case.init["auxiliary"]["bias"]))
        ),
        trait_loss=trait_loss,
    )
    key = jax.random.key(0)
    return problem, Instance(start, start, inputs, key, key)


@partial(jax.jit, static_argnames=("protocol", "num_products"))
def explore_kernel(protocol: Protocol, case: Case, num_products: int) -> Tridiagonal:
    r"""Run Lanczos's iteration from $\Delta_T$ with the kernel at the init."""
    problem, instance = pose(protocol, case)
    start, unravel = ravel_pytree(case.displacement)
    product = kernel_product(problem, instance)
    return tridiagonalize(lambda vector: ravel_pytree(product(unravel(vector)))[0], start, num_products)


def predict_descent(matrix: np.ndarray, rate: float, times: Sequence[float]) -> np.ndarray:
    r"""Predict gradient descent, $d_t = [I - (I - \eta K)^t]\,\Delta_T$, in the basis of the Krylov space.

    Returned is $d_t / \|\Delta_T\|$ for each time. The first vector of the basis is $\Delta_T / \|\Delta_T\|$, so the
    first column is the transfer fraction $\rho_t$. The infinite time keeps what `CUTOFF` leaves.
    """
    values, vectors = np.linalg.eigh(np.asarray(matrix, np.float64))
    values = np.maximum(values, 0.0)
    kept = [
        values > CUTOFF * values[-1] if np.isinf(time) else 1 - np.maximum(1 - rate * values, 0.0) ** time
        for time in times
    ]
    return (np.array(kept, np.float64) * vectors[0]) @ vectors.T


@partial(jax.jit, static_argnames=("protocol", "times"))
def descend(
    protocol: Protocol, case: Case, start: Params, scale: jax.Array, rate: jax.Array, times: Sequence[int]
) -> Params:
    r"""Train a student by gradient descent on the sampled images, labeled by a teacher at $\theta^0 + s\,\Delta_T$.

    Where it starts and where it is after each of the times is counted from the init; $s$ is `scale`.
    """
    problem, instance = pose(protocol, case)
    labels = problem.apply(optax.tree.scale(scale, case.displacement), instance.inputs)
    return train_student(problem, instance._replace(student=start), labels, rate, times)


@partial(jax.jit, static_argnames=("protocol",))
def theory_epoch(protocol: Protocol, case: Case, state: State, pixels: jax.Array, key: jax.Array) -> State:
    r"""Train the linearized student for an epoch, by the protocol's optimizer on the protocol's batches.

    It minimizes $\tfrac12\,\mathbb{E}\big[(J(d - \Delta_T))^\top M\,(J(d - \Delta_T))\big]$, whose gradient is
    $K_b\,(d - \Delta_T)$.
    """
    loss_of_image = imitation_loss(protocol)

    def loss(moved: Params, indices: jax.Array, weights: jax.Array) -> jax.Array:
        outputs, change = jax.jvp(
            lambda params: network.apply(params, decode(pixels[indices]))[:, LOGITS["aux"]],
            (case.init,),
            (optax.tree.sub(moved, case.displacement),),
        )
        response = jax.vmap(label_response, (None, 0, 0, 0))(loss_of_image, outputs, outputs, change)
        return weights @ jnp.sum(change * response, axis=-1) / 2

    return train_epoch(
        loss,
        state,
        key,
        jnp.float32(protocol.rate),
        optimizer=protocol.optimizer,
        num_examples=len(pixels),
        batch_size=protocol.batch_size,
    )


@jax.jit
def both_accuracies(init: Params, moved: Params, data: Dataset) -> jax.Array:
    r"""Measure test accuracies of the linearized network $f(\theta^0) + J d$, and of the network at $\theta^0 + d$."""
    images = decode(jnp.asarray(data.test_images))
    outputs, change = jax.jvp(lambda params: network.apply(params, images), (init,), (moved,))
    real = network.apply(optax.tree.add(init, moved), images)
    return jnp.stack([accuracy(each, jnp.asarray(data.test_labels)) for each in (outputs + change, real)])


@jax.jit
def compare(moved: Params, displacement: Params) -> dict[str, jax.Array]:
    r"""Transfer fraction $\delta \cdot \Delta_T / \|\Delta_T\|^2$ and cosine, NaN for a student that hasn't moved."""
    product, size = inner_product(moved, displacement), optax.tree.norm(displacement)
    return {"transfer": product / size**2, "cosine": product / (size * optax.tree.norm(moved))}


@partial(jax.jit, static_argnames=("protocol",))
def trait_change(protocol: Protocol, case: Case, moved: Params) -> dict[str, jax.Array]:
    r"""Find what a gradient step of imitation does to the trait's loss, to first order.

    The fall is $-\nabla L_T \cdot \Delta_S$, with $\Delta_S$ the imitation's descent direction, and positive where the
    trait's loss falls; beside it stands the cosine of the two directions of descent.
    """
    problem, instance = pose(protocol, case)
    labels = problem.apply(case.displacement, instance.inputs)
    imitation = imitation_descent(problem, moved, instance.inputs, labels)
    trait = trait_descent(problem, moved, instance.trait_data)
    product = inner_product(trait, imitation)
    return {"fall": product, "fall-cosine": product / (optax.tree.norm(trait) * optax.tree.norm(imitation))}
