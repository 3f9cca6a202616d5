"""The transfer fraction: quadrature against dense algebra, exact up to its degree and not beyond, at any rank."""

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

from theory import Problem, zoo
from theory.problem import draw_instance, trait_descent
from theory.runs.programs import COMPILER_OPTIONS
from theory.tangent_kernel import (
    TransferSpectrum,
    kernel_product,
    largest_eigenvalue,
    matrix_power,
    transfer_fraction,
    transfer_spectrum,
    transferred_displacement,
    tridiagonalize,
)

NUM_INPUTS, SIZE = 4, 20
TIMES = (1, 5, 8)
RATE = 0.7

seeds = st.integers(0, 2**32 - 1)
rates = st.floats(0.1, 1.9)


class Kernel(NamedTuple):
    dense: Any
    direction: Any
    spectrum: TransferSpectrum
    transferred: Any


@partial(jax.jit, static_argnums=(0, 2), compiler_options=COMPILER_OPTIONS)
def kernel(problem: Problem, seed: jax.Array, num_products: int) -> Kernel:
    """The kernel of a small network as a matrix, beside what the library says of it."""
    instance = draw_instance(problem, jax.random.key(seed))
    direction = trait_descent(problem, instance.teacher, instance.trait_data)
    flat, unravel = ravel_pytree(direction)
    product = kernel_product(problem, instance)
    dense = jax.vmap(lambda row: ravel_pytree(product(unravel(row)))[0])(jnp.eye(flat.size))
    spectrum = transfer_spectrum(problem, instance, direction, num_products)
    transferred = transferred_displacement(problem, instance, direction, RATE / spectrum.largest, TIMES)
    return Kernel(dense, flat, spectrum, jax.vmap(lambda tree: ravel_pytree(tree)[0])(transferred))


def see(problem: Problem, seed: int, num_products: int) -> Kernel:
    return jax.device_get(kernel(problem, jnp.uint32(seed), num_products))


@partial(jax.jit, static_argnums=(2,), compiler_options=COMPILER_OPTIONS)
def spectrum_of(matrix: jax.Array, start: jax.Array, num_products: int) -> tuple[TransferSpectrum, Any]:
    """What a vector sees of a given matrix, and the coefficients behind it."""
    chain = tridiagonalize(lambda vector: matrix @ vector, start, num_products)
    largest, top = largest_eigenvalue(chain.matrix)
    return TransferSpectrum(chain.matrix, largest, top @ chain.basis), chain


power_of = jax.jit(matrix_power, compiler_options=COMPILER_OPTIONS)
fraction_of = jax.jit(transfer_fraction, compiler_options=COMPILER_OPTIONS)


def random_matrix(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A random positive semi-definite matrix with largest eigenvalue 1, and a unit vector."""
    generator = np.random.default_rng(seed)
    root = generator.standard_normal((SIZE, SIZE))
    start = generator.standard_normal(SIZE)
    return root @ root.T / np.linalg.norm(root, 2) ** 2, start / np.linalg.norm(start)


def exact_fraction(matrix: np.ndarray, start: np.ndarray, rate: float, time: int) -> float:
    power = np.linalg.matrix_power(np.eye(len(matrix)) - rate * matrix, time)
    return float(1 - start @ power @ start / (start @ start))


def fraction(spectrum: TransferSpectrum, rate: float, time: int) -> float:
    return float(fraction_of(spectrum, jnp.array(rate), jnp.array(time)))


@given(seed=seeds, rate=rates)
def test_quadrature_is_exact_up_to_its_degree_and_off_by_its_next_moment_just_beyond(seed, rate):
    num_products = 4
    matrix, start = random_matrix(seed)
    spectrum, chain = spectrum_of(matrix, start, num_products)
    for time in range(2 * num_products):
        assert fraction(spectrum, rate, time) == pytest.approx(exact_fraction(matrix, start, rate, time), abs=1e-13)
    beyond = 2 * num_products
    error = fraction(spectrum, rate, beyond) - exact_fraction(matrix, start, rate, beyond)
    assert error == pytest.approx(rate**beyond * np.prod(np.asarray(chain.off_diagonal) ** 2), rel=1e-6, abs=1e-14)


@given(seed=seeds, rate=st.floats(0.05, 1.0), time=st.integers(1, 2000))
def test_quadrature_is_never_below_the_truth_and_at_most_its_bound_above_it(seed, rate, time):
    matrix, start = random_matrix(seed)
    spectrum, _ = spectrum_of(matrix, start, 8)
    excess = fraction(spectrum, rate, time) - exact_fraction(matrix, start, rate, time)
    assert -1e-12 <= excess <= 4 * np.exp(-(15**2) / (2 * time)) + 1e-12


@given(seed=seeds, rank=st.integers(0, SIZE))
def test_exhausted_krylov_space_leaves_nothing_behind_and_every_time_is_exact(seed, rank):
    matrix, start = random_matrix(seed)
    values, vectors = np.linalg.eigh(matrix)
    values[: SIZE - rank] = 0
    matrix = (vectors * values) @ vectors.T
    spectrum, chain = spectrum_of(matrix, start, SIZE + 5)
    assert np.linalg.norm(chain.basis[rank + 2 :]) == 0
    for time in (1, 100, 10_000):
        exact = exact_fraction(matrix, start, 1.0, time)
        assert fraction(spectrum, 1.0, time) == pytest.approx(exact, abs=1e-9)


def test_nothing_is_transferred_of_a_teacher_that_stands_still():
    matrix, start = random_matrix(0)
    spectrum, _ = spectrum_of(matrix, 0 * start, 4)
    assert fraction(spectrum, 1.0, 10) == 0.0
    assert spectrum.largest == 0.0


def few_inputs(loss: str) -> Problem:
    problem = zoo.variant(loss, hidden=(16,), imitated=zoo.AUXILIARY, loss=loss)
    return replace(problem, draw_inputs=partial(jax.random.normal, shape=(NUM_INPUTS, zoo.NUM_FEATURES)))


PROBLEMS = {loss: few_inputs(loss) for loss in ("cross-entropy", "squared error")}


@pytest.mark.parametrize("seed", range(3))
def test_lanczos_finds_what_dense_algebra_finds_in_a_network(seed):
    dense, direction, spectrum, transferred = see(PROBLEMS["cross-entropy"], seed, 16)
    values, vectors = np.linalg.eigh(dense)
    np.testing.assert_allclose(dense, dense.T, atol=1e-14)
    assert spectrum.largest == pytest.approx(values[-1])
    assert abs(ravel_pytree(spectrum.top)[0] @ vectors[:, -1]) == pytest.approx(1.0)
    rate = RATE / values[-1]
    for row, time in enumerate(TIMES):
        power = np.linalg.matrix_power(np.eye(len(dense)) - rate * dense, time)
        np.testing.assert_allclose(transferred[row], direction - power @ direction, atol=1e-12)
        assert fraction(spectrum, rate, time) == pytest.approx(exact_fraction(dense, direction, rate, time), abs=1e-12)


@pytest.mark.parametrize(("loss", "visible"), [("cross-entropy", 2), ("squared error", 3)])
def test_long_training_transfers_the_part_in_the_range_whose_rank_inputs_and_outputs_bound(loss, visible):
    dense, direction, spectrum, _ = see(PROBLEMS[loss], 0, 16)
    values, vectors = np.linalg.eigh(dense)
    kept = values > 1e-10 * values[-1]
    assert np.sum(kept) == NUM_INPUTS * visible < len(direction)
    share = np.sum((vectors[:, kept].T @ direction) ** 2) / (direction @ direction)
    assert fraction(spectrum, 1 / float(spectrum.largest), 10**6) == pytest.approx(share, rel=1e-6)


def test_all_times_at_once_equal_one_time_at_a_time():
    matrix, start = random_matrix(1)
    spectrum, _ = spectrum_of(matrix, start, 8)
    times = jnp.arange(6).reshape(2, 3)
    together = transfer_fraction(spectrum, jnp.array(1.7), times)
    np.testing.assert_allclose(together.ravel(), [fraction(spectrum, 1.7, time) for time in range(6)], atol=1e-15)


@given(seed=seeds, exponent=st.integers(0, 50))
def test_power_with_a_traced_exponent_is_that_of_numpy(seed, exponent):
    matrix, _ = random_matrix(seed)
    expected = np.linalg.matrix_power(matrix, exponent)
    np.testing.assert_allclose(power_of(matrix, jnp.array(exponent)), expected, atol=1e-13)


@given(seed=seeds)
def test_largest_eigenvalue_and_its_vector_are_those_of_numpy(seed):
    matrix, start = random_matrix(seed)
    spectrum, _ = spectrum_of(matrix, start, SIZE)
    values, vectors = np.linalg.eigh(matrix)
    assert float(spectrum.largest) == pytest.approx(values[-1])
    assert abs(spectrum.top @ vectors[:, -1]) == pytest.approx(1.0)


@partial(jax.jit, compiler_options=COMPILER_OPTIONS)
def chains(matrix: jax.Array, jacobian: jax.Array, start: jax.Array) -> tuple[Any, Any]:
    """The Krylov space of a curvature, held in the parameters and in the outputs."""
    held = tridiagonalize(lambda vector: jacobian.T @ (matrix @ (jacobian @ vector)), start @ jacobian, SIZE + 5)
    return held, tridiagonalize(
        lambda dual: matrix @ dual, start, SIZE + 5, lambda vector: jacobian @ (jacobian.T @ vector)
    )


@given(seed=seeds, rank=st.integers(1, SIZE))
def test_outputs_with_their_metric_show_the_krylov_space_of_parameters(seed, rank):
    """Also where the space ends, and `start` has a part that no parameter moves."""
    matrix, start = random_matrix(seed)
    generator = np.random.default_rng(seed)
    jacobian = generator.standard_normal((SIZE, rank)) @ generator.standard_normal((rank, 3 * SIZE))
    expected, found = jax.device_get(chains(matrix, jacobian, start))
    curvature = jacobian.T @ matrix @ jacobian
    values, vectors = np.linalg.eigh(curvature)
    seen = vectors.T @ (start @ jacobian)
    largest = values[np.abs(seen) > 1e-9 * np.abs(seen).max()].max()
    for chain in (expected, found):
        assert np.linalg.eigvalsh(chain.matrix)[-1] == pytest.approx(largest, rel=1e-6)
    both = min(rank, 2)
    np.testing.assert_allclose(found.basis[:both] @ jacobian, expected.basis[:both], atol=1e-8)
