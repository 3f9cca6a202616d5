from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlp_mnist import distillation
from mlp_mnist.data import Dataset
from mlp_mnist.images import BLOCK
from mlp_mnist.protocol import LOGITS, NUM_CLASSES, Logits, Protocol
from mlp_mnist.seed_group import SeedGroup
from mlp_mnist.training import over_seeds, start_together
from theory.problem import Params

CHOSEN: tuple[Logits, ...] = ("aux", "all")


class Taught(NamedTuple):
    """A teacher, its images, and two networks, in float64."""

    group: SeedGroup
    protocol: Protocol
    teacher: Params
    inits: Sequence[Params]
    pixels: jax.Array
    labels: jax.Array


@pytest.fixture
def taught(double_precision: None, grouped: Callable[..., SeedGroup], protocol: Protocol) -> Taught:
    group = grouped(0)
    teacher, init = grouped(7).init(protocol), group.init(protocol)
    pixels = group.images(protocol)
    labels = distillation.label_images(protocol.teacher(), teacher, pixels)
    return Taught(group, protocol, teacher, [init, grouped(3).init(protocol)], pixels, labels)


def only(tree: Params) -> Params:
    """The single seed of a group."""
    return jax.tree.map(lambda leaf: np.asarray(leaf[0]), tree)


def largest_difference(left: Params, right: Params) -> float:
    return max(jax.tree.leaves(jax.tree.map(lambda *pair: float(np.max(np.abs(pair[0] - pair[1]))), left, right)))


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def seen(pixels: np.ndarray) -> np.ndarray:
    return (pixels.astype(np.float32) / np.float32(127.5) - 1).astype(float)


def pass_plainly(params: Params, images: np.ndarray, slope: Callable[[np.ndarray], np.ndarray] | None = None) -> Any:
    """Logits or, given the loss's slope in them, the gradient of the mean loss."""
    values = [images]
    for layer in params["hidden"].values():
        values.append(np.maximum(values[-1] @ layer["kernel"].T + layer["bias"], 0))
    names = [name for name in ("classes", "auxiliary") if name in params]
    kernel = np.vstack([params[name]["kernel"] for name in names])
    logits = values[-1] @ kernel.T + np.hstack([params[name]["bias"] for name in names])
    if slope is None:
        return logits
    above = slope(logits) / len(images)
    parts = dict(zip(names, np.split(above, [NUM_CLASSES], axis=1), strict=False))
    gradient = {name: {"kernel": part.T @ values[-1], "bias": part.sum(axis=0)} for name, part in parts.items()}
    above, hidden = above @ kernel, {}
    for place in reversed(params["hidden"]):
        above = above * (values[place + 1] > 0)
        hidden[place] = {"kernel": above.T @ values[place], "bias": above.sum(axis=0)}
        above = above @ params["hidden"][place]["kernel"]
    return {"hidden": dict(sorted(hidden.items())), **gradient}


def train_plainly(
    params: Params, images: np.ndarray, key: jax.Array, protocol: Protocol, slope_of: Callable[[np.ndarray], Callable]
) -> Params:
    """Adam for an epoch, batch after batch."""
    order = np.array(jax.random.permutation(key, len(images)))
    first = second = jax.tree.map(np.zeros_like, params)
    for step, begin in enumerate(range(0, len(order), protocol.batch_size), 1):
        batch = order[begin : begin + protocol.batch_size]
        gradient = pass_plainly(params, images[batch], slope_of(batch))
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, second, gradient)
        params = jax.tree.map(
            lambda p, m, v, n=step: (
                p - protocol.learning_rate * m / (1 - 0.9**n) / (np.sqrt(v / (1 - 0.999**n)) + 1e-8)
            ),
            *(params, first, second),
        )
    return params


@pytest.mark.parametrize(
    ("loss", "temperature"), [("kl", 1.0), ("kl", 3.0), ("squared-error", 1.0)], ids=["kl", "tempered", "squared"]
)
def test_students_side_by_side_train_as_each_would_alone_by_plain_backpropagation(loss, temperature, taught):
    """To the rounding of the batches' weights, which are float32, times what Adam makes of it."""
    protocol = replace(taught.protocol, loss=loss, temperature=temperature)
    keys, targets = taught.group.keys["student"], np.asarray(taught.labels[0])
    state = start_together(list(taught.inits), "adam")
    after = distillation.imitate_epoch(protocol.imitation(), CHOSEN, state, taught.pixels, taught.labels, keys)
    for student, init, name in zip(after.params, taught.inits, CHOSEN, strict=True):

        def slope_of(batch: np.ndarray, chosen: slice = LOGITS[name]) -> Callable[[np.ndarray], np.ndarray]:
            def slope(logits: np.ndarray) -> np.ndarray:
                slopes, student, teacher = np.zeros_like(logits), logits[:, chosen], targets[batch][:, chosen]
                tempered = temperature * (softmax(student / temperature) - softmax(teacher / temperature))
                slopes[:, chosen] = tempered if loss == "kl" else 2 * (student - teacher)
                return slopes

            return slope

        plain = train_plainly(only(init), seen(np.asarray(taught.pixels[0])), keys[0], protocol, slope_of)
        assert largest_difference(only(student), plain) < 1e-5
        assert largest_difference(only(student), only(init)) > protocol.learning_rate


def test_a_teacher_trains_on_its_labels_by_plain_backpropagation(taught, dataset: Dataset):
    init = {name: taught.inits[0][name] for name in ("hidden", "classes")}
    keys, data = taught.group.keys["teacher"], taught.group.data
    after = distillation.teach_epoch(taught.protocol.teacher(), start_together(init, "adam"), data, keys)
    classes = np.eye(NUM_CLASSES)[dataset.train_labels]

    def slope_of(batch: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        return lambda logits: softmax(logits) - classes[batch]

    plain = train_plainly(only(init), seen(np.asarray(dataset.train_images)), keys[0], taught.protocol, slope_of)
    assert largest_difference(only(after.params), plain) < 1e-5
    assert largest_difference(only(after.params), only(init)) > taught.protocol.learning_rate


def test_labels_are_the_teachers_logits_on_every_image_in_every_block(taught):
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (1, BLOCK + 1, 16), np.uint8)
    labels = distillation.label_images(taught.protocol.teacher(), taught.teacher, jnp.asarray(pixels))
    plain = pass_plainly(only(taught.teacher), seen(pixels[0]))
    np.testing.assert_allclose(labels[0], plain, rtol=0, atol=1e-6, err_msg="more than decoding in float32 explains")
    common = distillation.label_images(taught.protocol.teacher(), taught.teacher, jnp.asarray(pixels[0]))
    np.testing.assert_array_equal(common, labels)


def test_one_seed_alone_is_spared_the_map_and_gives_the_same():
    function = over_seeds(lambda tree, key: (tree["a"] @ tree["b"], jax.random.uniform(key), None))
    generator = np.random.default_rng(0)
    tree = {name: jnp.asarray(generator.normal(size=(2, 5)), jnp.float32) for name in "ab"}
    keys = jax.random.split(jax.random.key(0), 2)
    together = function(tree, keys)
    singly = [
        function({name: each[None] for name, each in zip(tree, pair, strict=True)}, key[None])
        for *pair, key in zip(*tree.values(), keys, strict=True)
    ]
    for product, uniform, nothing in singly:
        assert product.shape == uniform.shape == (1,)
        assert nothing is None
    for place in range(2):
        np.testing.assert_allclose(together[place], np.concatenate([each[place] for each in singly]), rtol=1e-6)


def test_accuracy_counts_right_classes_and_ignores_auxiliary_logits():
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(size=(500, NUM_CLASSES + 3)), generator.integers(0, NUM_CLASSES, 500)
    right = [max(range(NUM_CLASSES), key=row.__getitem__) == label for row, label in zip(logits, labels, strict=True)]
    logits[:, NUM_CLASSES:] += generator.normal(size=(500, 3)) * 100
    assert distillation.accuracy(jnp.array(logits), jnp.array(labels)) == pytest.approx(np.mean(right), abs=1e-6)
    logits[np.arange(500), labels] = 1000
    assert distillation.accuracy(jnp.array(logits), jnp.array(labels)) == 1


def test_the_cosine_is_that_of_the_flattened_trees():
    generator = np.random.default_rng(0)
    left, right = ({"a": generator.normal(size=(3, 2)), "b": generator.normal(size=5)} for _ in range(2))
    u, v = (np.concatenate([tree["a"].ravel(), tree["b"]]) for tree in (left, right))
    expected = u @ v / np.linalg.norm(u) / np.linalg.norm(v)
    left, right = jax.tree.map(jnp.asarray, (left, right))
    assert distillation.cosine(left, right) == pytest.approx(expected, abs=1e-6)
    assert distillation.cosine(left, left) == pytest.approx(1, abs=1e-6)
    assert distillation.cosine(left, jax.tree.map(lambda leaf: -2 * leaf, left)) == pytest.approx(-1, abs=1e-6)
