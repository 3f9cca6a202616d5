from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from mlp_mnist import experiment, linearization, network, predictions
from mlp_mnist.arms import SCALES, TIMES, YOUNG_TIMES
from mlp_mnist.data import Dataset, Source, load
from mlp_mnist.distillation import accuracy
from mlp_mnist.images import decode
from mlp_mnist.initialization import named_keys
from mlp_mnist.linearization import MEASURED, make_case, measure_seeds
from mlp_mnist.options import Theory
from mlp_mnist.predictions import Case
from mlp_mnist.protocol import Protocol
from mlp_mnist.seed_group import SeedGroup
from mlp_mnist.theory_pictures import draw_linearization
from mlp_mnist.theory_verdicts import judge_linearization
from mlp_mnist.training import start_training
from theory.problem import Params
from theory.runs.records import in_memory
from theory.tangent_kernel import TransferSpectrum, kernel_product, transfer_fraction

NUMBERS, NUM_SEEDS = (4,), 2
SMALL = Protocol(
    hidden=(12, 8), num_auxiliary=4, teacher_epochs=4, student_epochs=2, num_images=600, batch_size=128,
    learning_rate=3e-3,
)  # fmt: skip
FLOAT32 = float(np.finfo(np.float32).eps)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load(Source("digits", None, ""))


@pytest.fixture(scope="module")
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linearization, "NUM_SAMPLED", 200)
        patch.setattr(experiment, "num_workers", lambda num_groups: 1)
        yield


@pytest.fixture(scope="module")
def results(small: None, digits: Dataset) -> dict[str, np.ndarray]:
    return measure_seeds(SMALL, NUMBERS, digits, seed=3, num_seeds=NUM_SEEDS)


@pytest.fixture(scope="module")
def case(small: None, digits: Dataset) -> Case:
    return make_case(SeedGroup(digits, None, jax.random.key(3), jnp.arange(1, dtype=jnp.uint32)), SMALL)


def verdicts(results: Mapping[str, np.ndarray]):
    return judge_linearization(results, NUMBERS).verdicts


def test_every_measurement_is_there_for_every_seed_and_number(results):
    assert list(results) == list(MEASURED)
    for name, values in results.items():
        shape = (NUM_SEEDS,) if name.startswith(("teacher/", "shared-heads/")) else (NUM_SEEDS, len(NUMBERS))
        assert values.shape[: len(shape)] == shape, name
        assert np.all(np.isfinite(values)) or name.endswith(("cosine", "transfer", "error")), name


def test_a_seed_does_not_depend_on_how_many_run_beside_it(results, digits, small):
    alone = measure_seeds(SMALL, NUMBERS, digits, seed=3, num_seeds=1)
    for name, values in alone.items():
        np.testing.assert_array_equal(values, results[name][:1], err_msg=name)


def test_predicted_descent_is_that_of_the_dense_kernel_in_plain_numpy(case):
    @jax.jit
    def dense_kernel(case: Case) -> jax.Array:
        product = kernel_product(*predictions.pose(SMALL, case))
        return jax.lax.map(lambda row: ravel_pytree(product(unravel(row)))[0], jnp.eye(len(teacher)))

    flat, unravel = ravel_pytree(case.displacement)
    teacher = np.asarray(flat, np.float64)
    kernel = np.asarray(dense_kernel(case), np.float64)
    rate, times = 1 / np.linalg.eigvalsh(kernel)[-1], (1, 10, 100)
    chain = predictions.explore_kernel(SMALL, case, 30)
    coordinates = predictions.predict_descent(np.asarray(chain.matrix), rate, times)
    left, step = teacher, 0
    for time, coordinate in zip(times, coordinates, strict=True):
        while step < time:
            left, step = left - rate * (kernel @ left), step + 1
        expected = teacher - left
        predicted = np.linalg.norm(teacher) * coordinate @ np.asarray(chain.basis)
        assert np.linalg.norm(predicted - expected) < 1e4 * FLOAT32 * np.linalg.norm(expected)
    spectrum = TransferSpectrum(chain.matrix, jnp.zeros(()), None)
    fractions = transfer_fraction(spectrum, jnp.float32(rate), jnp.array(times))
    np.testing.assert_allclose(fractions, coordinates[:, 0], rtol=1e-3, atol=100 * FLOAT32)


def test_predicted_transfer_grows_from_none_towards_a_whole(results):
    for name in ("descent/predicted", "descent/predicted-half"):
        assert np.all((results[name] >= 0) & (results[name] <= 1 + 1e-5))
        assert np.all(np.diff(results[name][..., :-1]) >= 0)


def test_linearized_network_at_the_teachers_displacement_is_the_linearized_teacher(case, digits):
    @jax.jit
    def accuracies(init: Params, displacement: Params) -> list[jax.Array]:
        images, labels = decode(jnp.asarray(digits.test_images)), jnp.asarray(digits.test_labels)
        outputs, push = jax.linearize(lambda params: network.apply(params, images), init)
        teacher = network.apply(optax.tree.add(init, displacement), images)
        return [accuracy(each, labels) for each in (outputs + push(displacement), teacher)]

    found = predictions.both_accuracies(case.init, case.displacement, digits)
    expected = accuracies(case.init, case.displacement)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1 / 360)


def test_one_step_of_the_linearized_student_is_a_product_with_the_kernel(case, digits):
    plain = Protocol(**vars(SMALL) | {"optimizer": "sgd", "batch_size": 200, "student_learning_rate": 0.1})
    state = start_training(optax.tree.zeros_like(case.init), "sgd")
    moved = predictions.theory_epoch(plain, case, state, case.noise, jax.random.key(0)).params

    @jax.jit
    def norms(case: Case, moved: Params) -> tuple[jax.Array, jax.Array]:
        expected = optax.tree.scale(0.1, kernel_product(*predictions.pose(SMALL, case))(case.displacement))
        return optax.tree.norm(optax.tree.sub(moved, expected)), optax.tree.norm(expected)

    missed, size = norms(case, moved)
    assert missed < 1e3 * FLOAT32 * size


def test_students_of_ever_younger_teachers_move_as_predicted(results):
    error = results["descent/error"][..., : len(YOUNG_TIMES)]
    assert np.all(np.diff(error[:, :, :4], axis=2) > 0)
    assert np.all(error[:, :, 0] < 0.2 * error[:, :, 3])


def test_young_teachers_verdicts_hold_and_their_controls_flip(results):
    young = [verdict for verdict in verdicts(results) if verdict.claim == "many-steps"]
    assert [verdict.outcome for verdict in young] == ["holds", "holds"]
    assert all(verdict.control_flips for verdict in young)


def test_verdicts_fail_where_the_student_is_a_stranger(results):
    swapped = dict(results)
    for name in ("transfer", "error"):
        swapped[f"descent/{name}"] = np.concatenate(
            [results[f"descent/stranger-{name}"], results[f"descent/{name}"][..., len(YOUNG_TIMES) :]], axis=-1
        )
    assert [one.outcome for one in verdicts(swapped) if one.claim == "many-steps"] == ["fails", "fails"]


def test_long_descent_is_trained_behind_the_trained_teacher_alone(results):
    trained = np.isfinite(results["descent/transfer"])
    assert np.all(trained[..., : len(YOUNG_TIMES)])
    assert np.all(trained[..., len(YOUNG_TIMES) :] == (np.array(SCALES) == 1)[:, None])


def test_the_figure_has_titled_panels_of_finite_extent(results, tmp_path):
    outcome = judge_linearization(results, NUMBERS)
    config = {"data": "digits", "num_seeds": NUM_SEEDS, "numbers": NUMBERS, "protocol": vars(SMALL)}
    figure = draw_linearization(in_memory(outcome, tmp_path, config, {}))
    assert all(axes.get_title(loc="left") and np.all(np.isfinite(axes.get_xlim())) for axes in figure.axes)
    assert len(outcome.table.splitlines()) > len(NUMBERS) + len(outcome.verdicts)


@pytest.mark.parametrize("numbers", [(), (1, 3), (3, 2), (2, 2)])
def test_numbers_that_carry_no_signal_or_no_order_are_refused(numbers):
    with pytest.raises(ValueError, match="numbers must be ascending from 2"):
        Theory(numbers=numbers)


def test_a_stranger_starts_from_another_seeds_init(digits):
    group = SeedGroup(digits, None, jax.random.key(3), jnp.arange(1, dtype=jnp.uint32))
    keys = named_keys(jax.random.key(3), jnp.arange(1, 2, dtype=jnp.uint32))
    expected = group.draw(keys["init"], ("dense", *SMALL.hidden), SMALL)["hidden"][0]["kernel"]
    np.testing.assert_array_equal(group.student_inits(SMALL, "stranger")[0]["hidden"][0]["kernel"], expected)
    assert TIMES[: len(YOUNG_TIMES)] == YOUNG_TIMES
