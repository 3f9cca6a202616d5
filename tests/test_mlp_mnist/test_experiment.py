from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from mlp_mnist import experiment
from mlp_mnist.data import Dataset
from mlp_mnist.experiment import LOGITS, NOISE_BLOCK, SeedResult
from mlp_mnist.protocol import NUM_CLASSES, Protocol
from mlp_mnist.verdicts import COMPARED_INITS, DEMO_INITS
from theory.networks import Network, Params

NUM_PIXELS = 16


@pytest.fixture(scope="module")
def network(protocol: Protocol) -> Network:
    return experiment.build_network(protocol, NUM_PIXELS)


@pytest.fixture(scope="module")
def three_seeds(protocol: Protocol, dataset: Dataset) -> SeedResult:
    return experiment.run_seeds(protocol, DEMO_INITS, dataset, seed=5, num_seeds=3)


@pytest.fixture
def double_precision() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


class Imitation:
    """A teacher, its noise, and two networks that imitate it, in whichever precision is on."""

    def __init__(self, protocol: Protocol, network: Network):
        self.protocol, self.network, self.key = protocol, network, jax.random.key(0)
        keys = jax.random.split(jax.random.key(1), 4)
        self.teacher, self.init, self.other = map(network.initialize, keys[:3])
        self.noise = experiment.draw_noise(protocol, NUM_PIXELS, keys[3])

    def students(self, inits: list[Params], chosen: list[slice]) -> list[Params]:
        return experiment.train_students(self.protocol, self.network, inits, chosen, self.teacher, self.noise, self.key)


@pytest.fixture(scope="module")
def single(protocol: Protocol, network: Network) -> Imitation:
    return Imitation(protocol, network)


@pytest.fixture
def double(protocol: Protocol, network: Network, double_precision: None) -> Imitation:
    return Imitation(protocol, network)


def largest_difference(left: Params, right: Params) -> float:
    return max(jax.tree.leaves(jax.tree.map(lambda *pair: float(jnp.max(jnp.abs(pair[0] - pair[1]))), left, right)))


def head_columns(params: Params, logits: slice) -> list[np.ndarray]:
    return [np.array(params["head"][name][..., logits]) for name in ("kernel", "bias")]


def test_a_seed_is_bitwise_the_same_alone_as_beside_others(protocol, dataset, three_seeds):
    alone = jax.jit(partial(experiment.run_seed, protocol, DEMO_INITS, dataset, jax.random.key(5)))
    for seed in range(3):
        for field, field_of_three in zip(alone(jnp.uint32(seed)), three_seeds, strict=True):
            np.testing.assert_array_equal(field, field_of_three[seed])


def test_one_seed_alone_is_bitwise_the_first_of_many(protocol, dataset):
    brief = replace(protocol, hidden=(4,), teacher_epochs=1, student_epochs=1)
    one, two = (experiment.run_seeds(brief, ["stranger"], dataset, seed=5, num_seeds=num_seeds) for num_seeds in (1, 2))
    for field, field_of_two in zip(one, two, strict=True):
        np.testing.assert_array_equal(field[0], field_of_two[0])


def test_seeds_differ_from_each_other(three_seeds):
    assert len(np.unique(three_seeds.cosines.reshape(3, -1), axis=0)) == 3
    assert len(np.unique(three_seeds.cosines)) == three_seeds.cosines.size


def test_results_have_an_entry_for_every_seed_init_and_choice_of_logits(three_seeds):
    assert three_seeds.reference.shape == three_seeds.teacher.shape == (3,)
    assert three_seeds.students.shape == three_seeds.cosines.shape == (3, len(DEMO_INITS), len(LOGITS))
    assert all(np.all((field >= 0) & (field <= 1)) for field in three_seeds[:3])
    assert np.all(np.abs(three_seeds.cosines) <= 1)


def test_the_teacher_learns_and_its_own_students_go_its_way(three_seeds):
    assert np.all(three_seeds.teacher > three_seeds.reference + 0.3)
    shared, stranger = three_seeds.cosines.mean(axis=0)
    assert np.all(shared > stranger + 0.1)


def test_a_stranger_starts_from_the_shared_init_of_the_next_seed(protocol, dataset, network, monkeypatch):
    starts = []

    def keep_inits(protocol, network, inits, *others):
        starts.extend(inits)
        return list(inits)

    monkeypatch.setattr(experiment, "train_students", keep_inits)
    monkeypatch.setattr(experiment, "train_teacher", lambda protocol, network, init, *others: init)

    @jax.jit
    def inits_of(index: jax.Array) -> list[Params]:
        starts.clear()
        experiment.run_seed(protocol, DEMO_INITS, dataset, jax.random.key(5), index)
        return starts

    shared, shared_all, stranger, stranger_all = zip(*map(inits_of, map(jnp.uint32, range(4))), strict=True)
    for seed in range(4):
        assert largest_difference(shared[seed], shared_all[seed]) == 0
        assert largest_difference(stranger[seed], stranger_all[seed]) == 0
        assert largest_difference(stranger[seed], shared[seed]) > 0.1
    for seed in range(3):
        assert largest_difference(stranger[seed], shared[seed + 1]) == 0


def test_a_permuted_student_is_the_shared_one_and_a_stranger_is_not(protocol, dataset, double_precision):
    root = jax.random.key(5)
    result = jax.jit(partial(experiment.run_seed, protocol, COMPARED_INITS, dataset, root))(jnp.uint32(0))
    assert result.cosines.dtype == jnp.float64
    shared, permuted, rescaled, stranger = np.array(result.cosines)
    np.testing.assert_allclose(permuted, shared, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(result.students[1], result.students[0])
    assert np.all(np.abs(stranger - shared) > 0.1)
    assert np.all(np.abs(rescaled - shared) > 1e-3), "Adam does not respect rescalings"


def plain_students(double: Imitation, init: Params, logits: slice) -> Params:
    """One student on KL(teacher ‖ student), batch after batch."""
    optimizer = optax.adam(double.protocol.learning_rate)

    @jax.jit
    def step(params, moments, images):
        def loss(params):
            teacher, student = (double.network.apply(each, images)[:, logits] for each in (double.teacher, params))
            teacher, student = teacher - teacher.max(1, keepdims=True), student - student.max(1, keepdims=True)
            given = jnp.exp(teacher) / jnp.exp(teacher).sum(1, keepdims=True)
            learned = jnp.exp(student) / jnp.exp(student).sum(1, keepdims=True)
            return jnp.sum(given * jnp.log(given / learned)) / len(images)

        updates, moments = optimizer.update(jax.grad(loss)(params), moments)
        return optax.apply_updates(params, updates), moments

    params, moments = init, optimizer.init(init)
    for key in jax.random.split(double.key, double.protocol.student_epochs):
        order = np.array(jax.random.permutation(key, double.protocol.num_noise))
        for begin in range(0, len(order), double.protocol.batch_size):
            params, moments = step(params, moments, double.noise[order[begin : begin + double.protocol.batch_size]])
    return params


def test_students_side_by_side_train_as_each_would_alone_in_a_plain_loop(double):
    inits, chosen = [double.init, double.other], [LOGITS["aux"], LOGITS["all"]]
    students = double.students(inits, chosen)
    for student, init, logits in zip(students, inits, chosen, strict=True):
        assert largest_difference(student, plain_students(double, init, logits)) < 1e-9
        assert largest_difference(student, init) > double.protocol.learning_rate


def test_a_student_that_agrees_already_takes_no_step(double):
    """In one step: near its end, Adam magnifies what rounding is left by up to rate/epsilon with every further one."""
    double.protocol = replace(double.protocol, student_epochs=1, batch_size=double.protocol.num_noise)
    students = double.students([double.teacher] * 2, list(LOGITS.values()))
    for student in students:
        assert largest_difference(student, double.teacher) < 1e-9


def test_a_single_logit_carries_no_signal_and_two_do(single):
    alone, pair = single.students([single.init] * 2, [slice(NUM_CLASSES, NUM_CLASSES + 1), slice(0, 2)])
    assert largest_difference(alone, single.init) == 0
    assert largest_difference(pair, single.init) > single.protocol.learning_rate


def test_auxiliary_logits_leave_the_class_head_bitwise_untouched_and_move_the_body(single):
    classes, auxiliary = slice(NUM_CLASSES), slice(NUM_CLASSES, None)
    student, of_all = single.students([single.init] * 2, [LOGITS["aux"], LOGITS["all"]])
    for before, after in zip(head_columns(single.init, classes), head_columns(student, classes), strict=True):
        np.testing.assert_array_equal(after, before)
    for before, after in zip(head_columns(single.init, auxiliary), head_columns(student, auxiliary), strict=True):
        assert np.all(after != before)
    for layer, moved in zip(single.init["hidden"].values(), student["hidden"].values(), strict=True):
        assert largest_difference(layer, moved) > single.protocol.learning_rate
    for before, after in zip(head_columns(single.init, classes), head_columns(of_all, classes), strict=True):
        assert np.all(after != before)


def test_the_teacher_learns_from_its_class_logits_alone(protocol, network, dataset, single):
    teacher = experiment.train_teacher(protocol, network, single.init, dataset, jax.random.key(2))
    auxiliary = slice(NUM_CLASSES, None)
    for before, after in zip(head_columns(single.init, auxiliary), head_columns(teacher, auxiliary), strict=True):
        np.testing.assert_array_equal(after, before)
    score = experiment.accuracy(network.apply(teacher, dataset.test_images), dataset.test_labels)
    assert score > 0.8


def test_noise_is_uniform_between_minus_one_and_one():
    noise = np.array(experiment.draw_noise(Protocol(num_noise=2500), NUM_PIXELS, jax.random.key(0)))
    assert noise.shape == (2500, NUM_PIXELS)
    assert -1 <= noise.min() < -0.999
    assert 0.999 < noise.max() < 1
    assert stats.kstest(noise.ravel(), stats.uniform(-1, 2).cdf).pvalue > 0.01
    assert np.max(np.abs(np.corrcoef(noise.T) - np.eye(NUM_PIXELS))) < 5 / np.sqrt(len(noise))


def test_noise_never_repeats_within_or_across_blocks():
    noise = np.array(experiment.draw_noise(Protocol(num_noise=2 * NOISE_BLOCK + 1), NUM_PIXELS, jax.random.key(0)))
    assert len(np.unique(noise, axis=0)) == len(noise)


def test_noise_depends_on_its_key_alone(protocol):
    def drawn(protocol: Protocol, seed: int) -> jax.Array:
        return experiment.draw_noise(protocol, NUM_PIXELS, jax.random.key(seed))

    other = Protocol(hidden=(8,), num_noise=protocol.num_noise)
    np.testing.assert_array_equal(drawn(protocol, 0), drawn(other, 0))
    assert not np.any(np.all(drawn(protocol, 0) == drawn(protocol, 1), axis=1))


def test_accuracy_counts_right_classes_and_ignores_auxiliary_logits():
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(size=(500, NUM_CLASSES + 3)), generator.integers(0, NUM_CLASSES, 500)
    right = [max(range(NUM_CLASSES), key=row.__getitem__) == label for row, label in zip(logits, labels, strict=True)]
    logits[:, NUM_CLASSES:] += generator.normal(size=(500, 3)) * 100
    assert experiment.accuracy(jnp.array(logits), jnp.array(labels)) == pytest.approx(np.mean(right), abs=1e-6)
    logits[np.arange(500), labels] = 1000
    assert experiment.accuracy(jnp.array(logits), jnp.array(labels)) == 1


def test_weights_start_normal_with_variance_one_over_fan_in_and_biases_at_zero():
    params = experiment.build_network(Protocol(), 784).initialize(jax.random.key(0))
    for layer in (*params["hidden"].values(), params["head"]):
        kernel = np.array(layer["kernel"])
        scaled = kernel.ravel() * np.sqrt(kernel.shape[0])
        assert abs(np.mean(scaled)) < 4 / np.sqrt(scaled.size)
        assert abs(np.var(scaled) - 1) < 4 * np.sqrt(2 / scaled.size)
        assert stats.kstest(scaled, "norm").pvalue > 0.01
        assert not np.any(layer["bias"])
    assert [layer["kernel"].shape for layer in params["hidden"].values()] == [(784, 256), (256, 256)]
    assert params["head"]["kernel"].shape == (256, NUM_CLASSES + 3)


def test_the_cosine_is_that_of_the_flattened_trees():
    generator = np.random.default_rng(0)
    left, right = ({"a": generator.normal(size=(3, 2)), "b": generator.normal(size=5)} for _ in range(2))
    u, v = (np.concatenate([tree["a"].ravel(), tree["b"]]) for tree in (left, right))
    expected = u @ v / np.linalg.norm(u) / np.linalg.norm(v)
    left, right = jax.tree.map(jnp.asarray, (left, right))
    assert experiment.cosine(left, right) == pytest.approx(expected, abs=1e-6)
    assert experiment.cosine(left, left) == pytest.approx(1, abs=1e-6)
    assert experiment.cosine(left, jax.tree.map(lambda leaf: -2 * leaf, left)) == pytest.approx(-1, abs=1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden": (16, 0)}, "hidden, epochs, num_noise and batch_size must be at least 1"),
        ({"teacher_epochs": 0}, "must be at least 1"),
        ({"student_epochs": 0}, "must be at least 1"),
        ({"num_noise": 0}, "must be at least 1"),
        ({"batch_size": 0}, "must be at least 1"),
        ({"num_auxiliary": 1}, "num_auxiliary must be at least 2"),
        ({"learning_rate": 0.0}, "learning_rate must be finite numbers above zero"),
        ({"learning_rate": float("nan")}, "learning_rate must be finite numbers above zero"),
    ],
)
def test_a_protocol_out_of_range_is_refused_by_the_name_of_its_field(fields, message):
    with pytest.raises(ValueError, match=message):
        Protocol(**fields)
