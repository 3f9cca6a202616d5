import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from llm_bridge.model import sampling
from llm_bridge.model.sampling import Sampled, draw_tokens, sample
from llm_bridge.model.shapes import Config, initialize
from llm_bridge.model.transformer import apply
from theory.problem import Params

PROMPTS = jnp.array([[3, 1, 4, 1], [5, 9, 0, 0], [2, 6, 5, 0]])
LENGTHS = jnp.array([4, 2, 3])
NUM_TOKENS, STOPS = 6, (2, 7)


@pytest.fixture
def params(config: Config) -> Params:
    return initialize(config, jax.random.key(1), jnp.float64)


def draw(
    config: Config, params: Params, prompts: jax.Array = PROMPTS, lengths: jax.Array = LENGTHS, **options
) -> Sampled:
    keys = jax.vmap(lambda number: jax.random.fold_in(jax.random.key(0), number))(prompts[:, 0])
    return sample(config, params, prompts, lengths, keys, **{"num_tokens": NUM_TOKENS, "stops": STOPS} | options)


@pytest.fixture
def sampled(config: Config, params: Params) -> Sampled:
    return draw(config, params, num_samples=5)


def test_log_probabilities_are_those_of_the_uncached_model(config, params, sampled):
    """Rows are filled up with token 0 behind a completion, which no earlier token sees."""
    prompts, lengths = np.asarray(PROMPTS), np.asarray(LENGTHS).tolist()
    for prompt, length, tokens, gains, ends in zip(prompts, lengths, *map(np.asarray, sampled), strict=True):
        known = np.broadcast_to(prompt[:length], (len(tokens), length))
        whole = np.concatenate([known, tokens, np.zeros((len(tokens), 4 - length), int)], axis=1)
        logits = jax.jit(apply, static_argnums=0)(config, params, whole)
        chances = special.log_softmax(logits, axis=-1)[:, length - 1 :]
        for completion, gained, chance, end in zip(tokens, gains, chances, ends, strict=True):
            np.testing.assert_allclose(gained[:end], chance[np.arange(end), completion[:end]], rtol=1e-9)


def test_a_completion_ends_with_its_first_stop_token_or_at_the_limit(sampled):
    tokens, gains, ends = map(np.asarray, sampled)
    rows = (tokens.reshape(-1, NUM_TOKENS), gains.reshape(-1, NUM_TOKENS), ends.ravel())
    for completion, gained, end in zip(*rows, strict=True):
        stopped = np.isin(completion[:end], STOPS)
        assert not stopped[:-1].any()
        assert stopped[-1] or end == NUM_TOKENS
        assert not completion[end:].any()
        assert not gained[end:].any()
    assert len(np.unique(ends)) > 1


def test_a_completion_does_not_depend_on_what_is_sampled_beside_it(config, params, sampled):
    alone = draw(config, params, PROMPTS[1:2], LENGTHS[1:2], num_samples=3)
    np.testing.assert_array_equal(alone.tokens[0], sampled.tokens[1, :3])
    np.testing.assert_array_equal(alone.lengths[0], sampled.lengths[1, :3])
    np.testing.assert_allclose(alone.log_probabilities[0], sampled.log_probabilities[1, :3], rtol=1e-9)
    wider = jnp.pad(PROMPTS, ((0, 0), (0, 3)), constant_values=6)
    np.testing.assert_array_equal(draw(config, params, wider, num_samples=5).tokens, sampled.tokens)


def test_adapters_are_sampled_as_the_weights_to_which_they_are_added(config, params):
    generator = np.random.default_rng(0)
    inputs, outputs = config.sizes()["down"]
    into, out = (jnp.array(generator.normal(size=(2, *shape))) for shape in ((inputs, 3), (3, outputs)))
    down = {"kernel": params["layers"]["down"]["kernel"] + 0.5 * into @ out}
    merged = draw(config, params | {"layers": params["layers"] | {"down": down}}, num_samples=5)
    added = draw(config, params, num_samples=5, adapters={"down": {"into": into, "out": out}}, adapter_scale=0.5)
    np.testing.assert_array_equal(added.tokens, merged.tokens)
    np.testing.assert_allclose(added.log_probabilities, merged.log_probabilities, rtol=1e-9)
    assert np.any(added.tokens != draw(config, params, num_samples=5).tokens)


def test_a_temperature_without_a_distribution_is_refused(config, params):
    for temperature in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="temperature must be above 0"):
            draw(config, params, temperature=temperature)


@pytest.mark.parametrize("at_once", [2, 5], ids=["rows in turn", "all rows"])
def test_tokens_are_those_of_the_categorical_draw(monkeypatch, at_once):
    monkeypatch.setattr(sampling, "NUMBERS_AT_ONCE", at_once * 40)
    keys, logits = jax.random.split(jax.random.key(3), 5), 3 * jax.random.normal(jax.random.key(4), (5, 40))
    tokens, gained = jax.jit(draw_tokens)(keys, logits)
    np.testing.assert_array_equal(tokens, jax.vmap(jax.random.categorical)(keys, logits))
    np.testing.assert_allclose(gained, special.log_softmax(logits, axis=1)[np.arange(5), tokens], rtol=1e-12)
    assert len(np.unique(tokens)) > 1


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_pairs_of_tokens_come_as_often_as_the_model_says(temperature):
    """Chi-squared over all pairs; the exact distribution of another temperature is refuted by the same draws."""
    config = Config(vocabulary=5, width=8, num_layers=1, num_heads=2, num_key_heads=1, head_size=4, hidden=8)
    params, prompt = initialize(config, jax.random.key(2), jnp.float64), jnp.array([[1, 3]])
    options = {"num_samples": 4000, "num_tokens": 2, "stops": (), "temperature": temperature}
    pairs = np.asarray(draw(config, params, prompt, jnp.array([2]), **options).tokens[0])
    counts = np.bincount(pairs[:, 0] * 5 + pairs[:, 1], minlength=25)

    def expected(temperature: float) -> np.ndarray:
        rows = np.concatenate([np.broadcast_to(prompt, (5, 2)), np.arange(5)[:, None]], axis=1)
        logits = jax.jit(apply, static_argnums=0)(config, params, rows)
        chances = special.softmax(np.asarray(logits) / temperature, axis=-1)
        return (chances[0, 1][:, None] * chances[:, 2]).ravel() * len(pairs)

    assert stats.chisquare(counts, expected(temperature)).pvalue > 1e-3
    assert stats.chisquare(counts, expected(1.5 - temperature)).pvalue < 1e-6
