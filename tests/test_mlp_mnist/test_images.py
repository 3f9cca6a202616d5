import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mlp_mnist import images
from mlp_mnist.images import draw_all_images
from mlp_mnist.protocol import Images

SIDE = 28
NUM_IMAGES = 2 * images.BLOCK + 1
"""Two blocks and the beginning of a third."""
NOISES: tuple[Images, ...] = ("uniform", "gaussian", "correlated", "low-dimensional")
HALF = float(jnp.finfo(jnp.float16).eps)

kinds = pytest.mark.parametrize("kind", NOISES)
draw = jax.jit(images.draw_images, static_argnums=(0, 1, 2))


@pytest.fixture(scope="module")
def stored() -> dict[Images, np.ndarray]:
    """Noise as stored."""
    return {kind: np.asarray(draw(kind, NUM_IMAGES, SIDE**2, jax.random.key(0))) for kind in NOISES}


@pytest.fixture(scope="module")
def noise(stored: dict[Images, np.ndarray]) -> dict[Images, np.ndarray]:
    """Noise as a network sees it."""
    return {kind: np.asarray(images.decode(jnp.asarray(each)), float) for kind, each in stored.items()}


def correlations(noise: np.ndarray) -> np.ndarray:
    return np.corrcoef(noise.T)


def test_levels_are_decoded_to_values_from_minus_one_to_one():
    levels = np.arange(256, dtype=np.uint8)
    values = images.decode(jnp.asarray(levels))
    assert values.dtype == jnp.float32
    np.testing.assert_allclose(values, levels / 255.0 * 2 - 1, atol=float(jnp.finfo(jnp.float32).eps))
    assert (values[0], values[-1]) == (-1, 1)


def test_values_that_are_no_levels_are_decoded_to_themselves():
    values = np.array([-3.0, 0.5, 255.0], np.float16)
    decoded = images.decode(jnp.asarray(values))
    assert decoded.dtype == jnp.float32
    np.testing.assert_array_equal(decoded, values)


def test_uniform_noise_has_every_level_equally_often_at_every_place_of_a_word(stored):
    """Four levels are cut out of a random word."""
    levels = stored["uniform"]
    assert levels.dtype == np.uint8
    for place in range(4):
        counts = np.bincount(levels[:, place::4].ravel(), minlength=256)
        assert stats.chisquare(counts).pvalue > 0.001
    pairs = np.bincount(levels[:, ::4].ravel() // 16 * 16 + levels[:, 1::4].ravel() // 16, minlength=256)
    assert stats.chisquare(pairs).pvalue > 0.001


def test_gaussian_noise_is_normal(noise):
    sample = noise["gaussian"].ravel()[:50_000] / images.SPREAD
    assert stats.kstest(sample, "norm").pvalue > 0.01


@kinds
def test_all_noises_have_mean_zero_and_variance_one_third(kind, noise):
    """Uniform noise has 256 levels and so a little more; the other errors are five standard errors."""
    variance = (256**2 - 1) / 12 / 127.5**2 if kind == "uniform" else 1 / 3
    assert variance == pytest.approx(1 / 3, rel=0.01)
    rows, columns = NUM_IMAGES, {"correlated": 16, "low-dimensional": 1}.get(kind, SIDE**2)
    independent = images.NUM_DIRECTIONS * SIDE**2 if kind == "low-dimensional" else np.inf
    error = np.sqrt(2 / (rows * columns) + 2 / independent)
    assert np.mean(noise[kind]) == pytest.approx(0, abs=5 * np.sqrt(variance / (rows * columns)))
    assert np.mean(noise[kind] ** 2) == pytest.approx(variance, rel=5 * error)
    if kind != "low-dimensional":
        assert np.var(noise[kind], axis=0) == pytest.approx(variance, rel=5 * np.sqrt(2 / NUM_IMAGES))


@pytest.mark.parametrize("kind", ["uniform", "gaussian"])
def test_pixels_of_plain_noise_are_uncorrelated(kind, noise):
    apart = correlations(noise[kind]) - np.eye(SIDE**2)
    assert np.max(np.abs(apart)) < 6 / np.sqrt(NUM_IMAGES)


def test_pixels_of_correlated_noise_know_their_neighbors_by_distance(noise):
    """A blur of spread b correlates pixels at a distance d by exp(-d²/4b²), where no edge is near."""
    rows = np.arange(10, 18)
    places = (rows[:, None] * SIDE + rows).ravel()
    at = np.stack(np.divmod(places, SIDE), axis=1)
    squares = np.sum((at[:, None] - at[None]) ** 2, axis=2)
    measured = correlations(noise["correlated"][:, places])
    np.testing.assert_allclose(measured, np.exp(-squares / (4 * images.BLUR**2)), atol=5 / np.sqrt(NUM_IMAGES))
    assert abs(correlations(noise["correlated"])[0, -1]) < 5 / np.sqrt(NUM_IMAGES)


def test_low_dimensional_noise_has_its_dimension_and_no_other(noise):
    sizes = np.linalg.svd(noise["low-dimensional"][:200], compute_uv=False)
    assert sizes[images.NUM_DIRECTIONS - 1] > 0.5 * sizes[0]
    assert sizes[images.NUM_DIRECTIONS] < HALF * sizes[0]


@kinds
def test_noise_never_repeats_within_or_across_blocks(kind, stored):
    assert stored[kind].shape == (NUM_IMAGES, SIDE**2)
    assert len(np.unique(stored[kind][:, :16], axis=0)) == NUM_IMAGES


@kinds
def test_noise_depends_on_its_key_alone(kind):
    keys = jax.random.split(jax.random.key(0), 3)
    together = draw_all_images(kind, 100, 16, keys)
    assert together.shape == (3, 100, 16)
    assert not np.any(np.all(together[0] == together[1], axis=1))
    rounding = HALF if kind in {"correlated", "low-dimensional"} else 0
    for seed in range(3):
        alone = draw_all_images(kind, 100, 16, keys[seed : seed + 1])[0]
        np.testing.assert_allclose(together[seed].astype(float), alone.astype(float), rtol=0, atol=rounding)


def test_images_of_any_number_of_pixels_are_cut_from_whole_words():
    assert draw("uniform", 5, 49, jax.random.key(0)).shape == (5, 49)
