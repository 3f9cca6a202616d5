import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mlp_mnist import distillation, network, symmetry
from theory.problem import Params

PIXELS, HIDDEN, NUM_AUXILIARY = 9, (16, 12), 3
"""No two layers are alike, so that a mistaken axis shows."""
EPS = float(jnp.finfo(jnp.float32).eps)

apply = jax.jit(network.apply)
cosine = jax.jit(distillation.cosine)
seeds = st.integers(0, 2**32 - 1)


@jax.jit
def draw(key: jax.Array) -> Params:
    """Parameters with biases that matter."""

    def initialize(key: jax.Array) -> Params:
        return network.initialize(key, ("dense", *HIDDEN), PIXELS, NUM_AUXILIARY)

    leaves, structure = jax.tree.flatten(jax.eval_shape(initialize, key))
    keys = jax.random.split(key, len(leaves))
    return structure.unflatten([jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)])


@jax.jit
def move(unit_map: symmetry.UnitMap, params: Params) -> Params:
    return unit_map(params)


@jax.jit
def draw_permutation(key: jax.Array) -> symmetry.UnitMap:
    return symmetry.random_permutation(key, HIDDEN)


@jax.jit
def draw_both(key: jax.Array) -> symmetry.UnitMap:
    """A map that permutes and rescales at once."""
    rescaling = symmetry.random_rescaling(jax.random.fold_in(key, 1), HIDDEN, 1.0)
    return draw_permutation(key)._replace(scales=rescaling.scales)


@jax.jit
def undo(unit_map: symmetry.UnitMap, params: Params) -> Params:
    return unit_map.inverse()(params)


def flat(params: Params) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])


def rounding(params: Params, inputs: jax.Array) -> jax.Array:
    """Bound on the difference of two ways to compute the outputs.

    Each is wrong by at most its number of roundings along a path times the network of all absolute values,
    which permutations and rescalings don't change.
    """
    roundings = sum(fan_in + 5 for fan_in in (PIXELS, *HIDDEN))
    return 2 * roundings * EPS * apply(jax.tree.map(jnp.abs, params), jnp.abs(inputs))


def test_the_bound_on_rounding_is_far_below_the_outputs():
    params, inputs = draw(jax.random.key(0)), jax.random.normal(jax.random.key(1), (100, PIXELS))
    assert np.mean(rounding(params, inputs)) < 1e-3 * np.mean(np.abs(apply(params, inputs)))


@given(seed=seeds)
def test_a_permuted_and_rescaled_network_computes_the_same_function(seed):
    key = jax.random.key(seed)
    params, inputs = draw(key), jax.random.normal(key, (8, PIXELS))
    difference = apply(move(draw_both(key), params), inputs) - apply(params, inputs)
    assert jnp.all(jnp.abs(difference) <= rounding(params, inputs))


@pytest.mark.parametrize("layer", range(len(HIDDEN)))
def test_permuting_incoming_weights_alone_changes_the_function(layer):
    params, inputs = draw(jax.random.key(0)), jax.random.normal(jax.random.key(1), (100, PIXELS))
    moved = draw_permutation(jax.random.key(2))(params)
    hidden = params["hidden"] | {layer: moved["hidden"][layer]}
    difference = apply(params | {"hidden": hidden}, inputs) - apply(params, inputs)
    assert np.mean(np.abs(difference) > rounding(params, inputs)) > 0.99


def test_units_move_with_their_weights_as_ten_plain_lines_move_them():
    params, both = draw(jax.random.key(0)), draw_both(jax.random.key(1))
    first, second = (jax.tree.map(np.array, layer) for layer in params["hidden"].values())
    classes, auxiliary = (jax.tree.map(np.array, params[name]) for name in ("classes", "auxiliary"))
    above = ([second], [classes, auxiliary])
    for below, heads, order, scale in zip((first, second), above, both.orders, both.scales, strict=True):
        old, *outgoing = (layer["kernel"].copy() for layer in (below, *heads))
        bias = below["bias"].copy()
        for place, unit in enumerate(np.array(order)):
            below["kernel"][place] = old[unit] * scale[place]
            below["bias"][place] = bias[unit] * scale[place]
            for head, kernel in zip(heads, outgoing, strict=True):
                head["kernel"][:, place] = kernel[:, unit] / scale[place]
    expected = {"hidden": {0: first, 1: second}, "classes": classes, "auxiliary": auxiliary}
    jax.tree.map(lambda *pair: np.testing.assert_allclose(*pair, rtol=4 * EPS), both(params), expected)


@given(seed=seeds)
def test_the_inverse_takes_a_permutation_back_exactly(seed):
    params, permutation = draw(jax.random.key(seed)), draw_permutation(jax.random.key(seed))
    np.testing.assert_array_equal(flat(undo(permutation, move(permutation, params))), flat(params))
    np.testing.assert_array_equal(flat(move(permutation, undo(permutation, params))), flat(params))


@given(seed=seeds)
def test_the_inverse_takes_any_map_back_to_rounding(seed):
    params, both = draw(jax.random.key(seed)), draw_both(jax.random.key(seed))
    np.testing.assert_allclose(flat(undo(both, move(both, params))), flat(params), rtol=8 * EPS)
    np.testing.assert_allclose(flat(move(both, undo(both, params))), flat(params), rtol=8 * EPS)


def test_maps_are_linear():
    left, right = draw(jax.random.key(0)), draw(jax.random.key(1))
    both = draw_both(jax.random.key(2))
    difference = jax.tree.map(jnp.subtract, left, right)
    apart = flat(move(both, left)) - flat(move(both, right))
    size = np.abs(flat(move(both, left))) + np.abs(flat(move(both, right)))
    assert np.all(np.abs(flat(move(both, difference)) - apart) <= 8 * EPS * size)


@given(seed=seeds)
def test_a_permutation_keeps_every_number_and_so_all_norms_and_cosines(seed):
    key = jax.random.key(seed)
    left, right, permutation = draw(key), draw(jax.random.fold_in(key, 1)), draw_permutation(key)
    np.testing.assert_array_equal(np.sort(flat(move(permutation, left))), np.sort(flat(left)))
    before, after = cosine(left, right), cosine(move(permutation, left), move(permutation, right))
    assert abs(after - before) <= flat(left).size * EPS


def test_a_rescaling_does_not_keep_cosines():
    left, right = draw(jax.random.key(0)), draw(jax.random.key(1))
    rescaling = symmetry.random_rescaling(jax.random.key(2), HIDDEN, 1.0)
    change = cosine(rescaling(left), rescaling(right)) - cosine(left, right)
    assert abs(change) > 100 * flat(left).size * EPS


def test_identity_and_a_rescaling_without_spread_move_nothing():
    params = draw(jax.random.key(0))
    for still in (symmetry.identity(HIDDEN), symmetry.random_rescaling(jax.random.key(1), HIDDEN, 0.0)):
        np.testing.assert_array_equal(flat(still(params)), flat(params))


def test_permutations_differ_between_layers_and_keys():
    first, second = symmetry.random_permutation(jax.random.key(0), (50, 50)).orders
    (other,) = symmetry.random_permutation(jax.random.key(1), (50,)).orders
    for order in (first, second, other):
        np.testing.assert_array_equal(np.sort(order), np.arange(50))
    fixed_points = [np.sum(np.equal(*pair)) for pair in ((first, second), (first, other), (first, np.arange(50)))]
    assert max(fixed_points) <= 5


def test_logarithms_of_factors_are_normal_with_the_spread_asked_for():
    first, second = symmetry.random_rescaling(jax.random.key(0), (2000, 2000), 0.5).scales
    logs = np.log(np.array([first, second]))
    assert stats.kstest(logs.ravel() / 0.5, "norm").pvalue > 0.01
    assert abs(np.corrcoef(logs)[0, 1]) < 4 / np.sqrt(2000)
