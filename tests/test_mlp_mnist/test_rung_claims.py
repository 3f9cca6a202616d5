"""Claims of the theory on this rung, each formula against dense NumPy on a tiny network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from mlp_mnist import network
from mlp_mnist.arms import SCALES
from mlp_mnist.claims import adam, epochs, finite_step, noisy_steps, shared_heads
from mlp_mnist.images import decode
from mlp_mnist.linearization import first_seed
from mlp_mnist.predictions import Case, pose
from mlp_mnist.protocol import NUM_CLASSES, Protocol
from mlp_mnist.verdicts import judged
from theory.claims.rank_noise import spread_cost
from theory.problem import Params

TINY = Protocol(hidden=(5, 4), num_auxiliary=3, teacher_epochs=4, batch_size=64, learning_rate=1e-2)


@pytest.fixture(scope="module")
def posed(dataset, grouped) -> tuple[Case, Params]:
    """A trained teacher of a tiny network on 40 images of noise, and how far another seed's init is."""
    group = grouped(0)
    trained = (group.init(TINY), group.teacher(TINY), group.student_inits(TINY, "stranger")[0])
    init, teacher, stranger = map(first_seed, jax.device_get(trained))
    images, labels = (jnp.asarray(each[:40]) for each in (dataset.train_images, dataset.train_labels))
    noise = jax.random.uniform(jax.random.key(1), (40, 16), minval=-1.0)
    teacher, stranger = (
        jax.tree.map(lambda *pair: jnp.asarray(np.subtract(*pair)), one, init) for one in (teacher, stranger)
    )
    return Case(jax.tree.map(jnp.asarray, init), teacher, noise, images, labels), stranger


def softmax(logits: np.ndarray) -> np.ndarray:
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def slopes(posed) -> np.ndarray:
    """Jacobian of the auxiliary logits at the init, `(images, logits, parameters)`, in float64."""

    @jax.jit
    def jacobian(init: Params, images: jax.Array) -> jax.Array:
        flat, unravel = ravel_pytree(init)
        return jax.jacobian(lambda params: network.apply(unravel(params), images)[:, NUM_CLASSES:])(flat)

    with jax.enable_x64(True):
        init, images = jax.tree.map(np.float64, (posed[0].init, posed[0].noise))
        return np.asarray(jacobian(init, images))


def logits(init, scale, displacement, images) -> np.ndarray:
    """Auxiliary logits in float64, by hand."""
    params = jax.tree.map(lambda one, other: np.float64(one) + scale * np.float64(other), init, displacement)
    values = np.asarray(images, np.float64).T
    for layer in params["hidden"].values():
        values = np.maximum(layer["kernel"] @ values + layer["bias"][:, None], 0)
    return (params["auxiliary"]["kernel"] @ values + params["auxiliary"]["bias"][:, None]).T


def label_moment(slopes: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Covariance of a single label's gradient within images: with the init's own probabilities, the kernel."""
    responses = shares[:, :, None] * (slopes - np.einsum("xk,xkp->xp", shares, slopes)[:, None])
    return np.einsum("xkp,xkq->pq", slopes, responses) / len(slopes)


def flat(tree) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]).astype(np.float64)


def test_a_finite_steps_parts_are_those_of_a_dense_jacobian(posed, slopes):
    case, stranger = posed
    measured = finite_step.measure(TINY, case, stranger)
    base = logits(case.init, 0.0, case.displacement, case.noise)
    for place, scale in enumerate(SCALES):
        after, moved = logits(case.init, scale, case.displacement, case.noise), scale * flat(case.displacement)
        learned = softmax(after) - softmax(base)
        jeffreys = np.mean(np.sum(learned * (after - base), axis=1))
        step = np.einsum("xkp,xk->p", slopes, learned) / len(learned)
        assert measured["divergence"][place] == pytest.approx(jeffreys, rel=1e-6)
        assert measured["step"][place] == pytest.approx(step @ moved, rel=1e-6)
        assert measured["curvature"][place] == pytest.approx(jeffreys - step @ moved, rel=1e-4, abs=1e-9)


def test_a_finite_steps_identity_holds_and_fails_for_a_stranger(posed):
    measured = finite_step.measure(TINY, *posed)
    results = {f"finite-step/{name}": values[None, None] for name, values in measured.items()}
    identity, *reports = judged(results, finite_step.checks((3,)))
    assert (identity.outcome, identity.control_flips) == ("holds", True)
    assert [report.outcome for report in reports] == ["reported"] * 2
    swapped = results | {"finite-step/step": results["finite-step/stranger-step"]}
    assert judged(swapped, finite_step.checks((3,)))[0].outcome == "fails"


def test_signal_and_noise_of_epochs_are_those_of_the_dense_kernels_eigenvectors(posed, slopes):
    case, stranger = posed
    measured = epochs.measure(TINY, case, stranger, jax.random.key(2))
    shares = softmax(logits(case.init, 0.0, case.displacement, case.noise))
    values, vectors = np.linalg.eigh(label_moment(slopes, shares))
    squares, values = (flat(case.displacement) @ vectors) ** 2, np.maximum(values, 1e-12)
    for place, time in enumerate(epochs.EPOCHS[:3]):
        reached = 1 - (1 - values / values[-1]) ** time
        signal, variance = squares @ reached, squares @ (reached**2 / values)
        unit = np.sqrt((squares @ (values / values[-1] ** 2)) / len(shares))
        assert measured["signal"][1, place] == pytest.approx(signal / unit, rel=1e-3)
        assert measured["noise"][place] == pytest.approx(np.sqrt(variance / len(shares)) / unit, rel=1e-3)
    young, trained = (logits(case.init, scale, case.displacement, case.noise) for scale in epochs.AGES)
    nats = [np.mean(np.sum(p * np.log(p / shares), axis=1)) for p in (softmax(young), softmax(trained))]
    np.testing.assert_allclose(measured["ceiling"], np.sqrt(2 * 40 * measured["labels"] * nats), rtol=1e-2)


def test_labels_are_drawn_with_the_probabilities_of_the_auxiliary_logits():
    outputs = np.array([[*[0] * NUM_CLASSES, 0, 1, 2], [*[0] * NUM_CLASSES, 3, 0, 0]], np.float32)
    draw_labels = jax.jit(epochs.draw_labels)
    drawn = draw_labels(outputs, jnp.float32(10_000), jax.random.key(0))
    np.testing.assert_array_equal(np.asarray(drawn)[:, :NUM_CLASSES], 0)
    np.testing.assert_allclose(
        softmax(np.asarray(drawn)[:, NUM_CLASSES:]), softmax(outputs[:, NUM_CLASSES:]), atol=0.02
    )
    one = np.asarray(draw_labels(outputs, jnp.float32(1), jax.random.key(0)))[:, NUM_CLASSES:]
    np.testing.assert_allclose(np.sort(np.ravel(softmax(np.asarray(one)))), [0, 0, 0, 0, 1, 1], atol=1e-20)


def test_adams_memory_runs_on_the_dense_kernel(posed, slopes):
    case, _ = posed
    measured = adam.measure(TINY, case)
    kernel = label_moment(slopes, softmax(logits(case.init, 0.0, case.displacement, case.noise)))
    teacher = flat(case.displacement)
    first = np.abs(kernel @ teacher)
    added = adam.ADDED * np.sqrt(np.mean(first**2))
    moved, kept, mean, square = (np.zeros_like(teacher) for _ in range(4))
    for step in range(1, 11):
        gradient = kernel @ (moved - teacher)
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        moved = moved - TINY.rate * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + added)
        kept = kept + TINY.rate * kernel @ (teacher - kept) / (first + added)
        if step in adam.STEPS:
            place = adam.STEPS.index(step)
            assert measured["distance"][place] == pytest.approx(np.linalg.norm(moved), rel=1e-3)
            for name, one in (("predicted", moved), ("kept", kept)):
                transfer = one @ teacher / (teacher @ teacher)
                assert measured[f"{name}-transfer"][place] == pytest.approx(transfer, rel=1e-3)


def numbered(tree: Params) -> Params:
    """Every parameter's place among all of them, in their stead."""
    ends = np.cumsum([leaf.size for leaf in jax.tree.leaves(tree)]).tolist()
    ends = jax.tree.unflatten(jax.tree.structure(tree), ends)
    return jax.tree.map(lambda leaf, end: np.arange(end - leaf.size, end).reshape(leaf.shape), tree, ends)


@jax.jit
def turned_trait(case: Case) -> tuple[Params, jax.Array, jax.Array]:
    """Where steps begin, every matrix transposed, and there the trait loss's Hessian and descent."""
    problem, instance = noisy_steps.turned(*pose(TINY, case))
    start, unravel = ravel_pytree(instance.teacher)

    def loss(params: jax.Array) -> jax.Array:
        return problem.trait_loss(unravel(params), instance.trait_data)

    return instance.teacher, jax.hessian(loss)(start), -jax.grad(loss)(start)


def test_costs_of_noisy_steps_are_those_of_the_dense_hessian_at_every_rank(posed, slopes, monkeypatch):
    for name, value in (("NUM_DRAWS", 250), ("RANKS", (2, 8)), ("FITTING", 0)):
        monkeypatch.setattr(noisy_steps, name, value)
    case, _ = posed
    measured = noisy_steps.measure(TINY, case, jax.random.key(4))
    slopes = slopes[..., flat(jax.tree.map(np.transpose, numbered(case.init))).astype(int)]
    start, hessian, trait = jax.device_get(turned_trait(case))
    base, shares = (softmax(logits(case.init, scale, case.displacement, case.noise)) for scale in (0.0, 1.0))
    exact = np.einsum("xkp,xk->p", slopes, shares - base) / len(base)
    moment = np.outer(exact, exact) + label_moment(slopes, shares) / len(base)
    full, spread = np.sum(hessian * moment), float(jax.jit(spread_cost)(start, *map(jnp.float32, (hessian, moment))))
    expected = [full, *(full + spread / rank for rank in noisy_steps.RANKS)]
    np.testing.assert_allclose(np.delete(measured["cost"], 1), expected, rtol=0.25)
    assert measured["slope"][0] == pytest.approx(trait @ exact, rel=1e-3)
    bend = exact @ hessian @ exact
    assert measured["noiseless-best"][0] == pytest.approx((trait @ exact) ** 2 / (2 * bend), rel=1e-2)


def test_the_spread_of_shared_heads_is_that_of_dense_jacobians(posed):
    case, stranger = posed
    body = jax.tree.map(np.add, case.init, stranger)["hidden"]
    measured = shared_heads.measure(case, body)

    @jax.jit
    def jacobian(params: Params, images: jax.Array) -> jax.Array:
        flat, unravel = ravel_pytree(params)
        return jax.jacobian(lambda params: shared_heads.features(unravel(params), images))(flat)

    read = jax.jit(decode)(case.images[: shared_heads.NUM_READ])
    slopes = [np.asarray(jacobian(body, images)) for images in (case.noise, read)]
    features = jax.jit(shared_heads.features)
    moved = jax.tree.map(np.add, case.init, case.displacement)["hidden"]
    change = np.asarray(features(moved, case.noise)) - np.asarray(features(case.init["hidden"], case.noise))
    classes = np.einsum("cu,xup->xcp", case.init["classes"]["kernel"], slopes[1]).reshape(
        len(slopes[1]) * NUM_CLASSES, -1
    )
    transfer = 2 * np.einsum("xup,cp,xv->cuv", slopes[0], classes, change, optimize=True) / len(case.noise)
    symmetric = (transfer + transfer.swapaxes(1, 2)) / 2
    spread = 2 * np.sum(symmetric**2) / np.sum(np.trace(transfer, axis1=1, axis2=2) ** 2)
    assert measured["spread"] == pytest.approx(spread, rel=1e-3)
