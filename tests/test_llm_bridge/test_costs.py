"""Costs, held against arrays, residuals and XLA's own counts; published totals are those of the checkpoints."""

from dataclasses import replace
from functools import partial
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_bridge.model import costs
from llm_bridge.model.cache import empty_cache
from llm_bridge.model.costs import Device, Work
from llm_bridge.model.expectations import Stage, expect
from llm_bridge.model.lessons import Lesson, mean_gradient
from llm_bridge.model.recipes import Recipe, start_training
from llm_bridge.model.sampling import sample
from llm_bridge.model.shapes import Config, initialize
from llm_bridge.model.transformer import Recompute, apply, run_layers
from llm_bridge.pretrained.catalog import SHAPES, find_shape
from llm_bridge.text.chats import Rows
from theory.problem import Params

PUBLISHED = {
    "qwen2.5-0.5b": 494_032_768,
    "qwen2.5-1.5b": 1_543_714_304,
    "qwen2.5-3b": 3_085_938_688,
    "qwen2.5-7b": 7_615_616_512,
    "qwen2.5-14b": 14_770_033_664,
    "qwen3-0.6b": 596_049_920,
    "qwen3-4b": 4_022_468_096,
    "qwen3-8b": 8_190_735_360,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.2-3b": 3_212_749_824,
    "llama-3.1-8b": 8_030_261_248,
    "smollm2-135m": 134_515_008,
    "gemma-2-2b": 2_614_341_888,
    "gemma-2-9b": 9_241_705_984,
    "gemma-3-270m": 268_098_176,
    "gemma-3-1b": 999_885_952,
    "olmo-2-1b": 1_484_916_736,
    "olmo-2-7b": 7_298_617_344,
    "mistral-7b": 7_248_023_552,
}
ROWS, TOKENS, RANK = 3, 24, 4
WIDE = Config(vocabulary=300, width=64, num_layers=1, num_heads=4, num_key_heads=2, head_size=24, hidden=160)


def abstract(config: Config, dtype: Any = jnp.float32) -> Params:
    return jax.eval_shape(lambda: initialize(config, jax.random.key(0), dtype))


def abstract_adapters(config: Config, params: Params) -> Params:
    return jax.eval_shape(lambda params: start_training(config, Recipe(rank=RANK), params, jax.random.key(0)), params)


def size_of(tree: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def bytes_of(leaves: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


def flops(function: Any, *arguments: Any) -> float:
    cost = jax.jit(function).lower(*arguments).compile().cost_analysis()
    assert cost is not None
    return cost["flops"]


def temporary_bytes(lowered: Any) -> int:
    """What a program needs beside its arguments and results."""
    return lowered.compile().memory_analysis().temp_size_in_bytes


TEXTS = jax.ShapeDtypeStruct((ROWS, TOKENS), jnp.int32)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_shape_of_the_catalog_has_as_many_parameters_as_were_published(name):
    assert size_of(abstract(SHAPES[name])) == costs.count_parameters(SHAPES[name]) == PUBLISHED[name]


def test_every_shape_of_the_catalog_is_checked_and_others_are_refused(refusal):
    assert set(SHAPES) == set(PUBLISHED)
    assert "qwen2.5-7b" in refusal(find_shape, "qwen2.5-8b")


def test_sizes_are_those_of_the_arrays(config):
    params = abstract(config, jnp.bfloat16)
    assert costs.count_parameters(config) == size_of(params)
    assert costs.weight_bytes(config, jnp.bfloat16) == bytes_of(jax.tree.leaves(params))
    assert costs.count_adapters(config, RANK) == size_of(abstract_adapters(config, params))
    cache = jax.eval_shape(lambda: empty_cache(config, 5, 7, jnp.bfloat16))
    assert 5 * 7 * costs.cache_bytes(config, jnp.bfloat16) == bytes_of([cache.keys, cache.values])


def test_operations_of_a_pass_are_those_that_xla_counts():
    """Of one layer, as XLA counts the body of a loop once; norms, softmax and rotation are the rest."""
    counted = flops(partial(apply, WIDE), abstract(WIDE), TEXTS)
    told = ROWS * TOKENS * costs.forward_operations(WIDE, TOKENS)
    assert told == pytest.approx(counted, rel=0.05)
    assert told < counted
    blind = ROWS * TOKENS * costs.forward_operations(WIDE, 0)
    assert blind < 0.96 * told


@pytest.mark.parametrize("trained", ["adapters", "everything"])
def test_operations_of_a_derivative_are_those_that_xla_counts(trained):
    params, recipe = abstract(WIDE), Recipe(rank=RANK, trained=trained)
    start = abstract_adapters(WIDE, params) if trained == "adapters" else params

    def loss(start: Params, params: Params, tokens: jax.Array) -> jax.Array:
        chosen = {"params": params, "adapters": start} if trained == "adapters" else {"params": start}
        return jnp.sum(apply(WIDE, chosen.pop("params"), tokens, **chosen) ** 2)

    counted = flops(jax.grad(loss), start, params, TEXTS) / (ROWS * TOKENS)
    own = 6 * costs.count_adapters(WIDE, RANK) if trained == "adapters" else 0
    told = costs.training_operations(WIDE, TOKENS, trained=recipe.trained) + own
    assert told == pytest.approx(counted, rel=0.08)
    other = costs.training_operations(WIDE, TOKENS, "everything" if trained == "adapters" else "adapters")
    assert abs(other - counted) > 0.15 * counted


@pytest.mark.parametrize("recompute", get_args(Recompute))
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_layer_keeps_what_is_told(config, dtype, recompute):
    params = abstract(replace(config, num_layers=3), dtype)
    config = replace(config, num_layers=3)

    def differentiate(params: Params, adapters: Params, tokens: jax.Array) -> Any:
        def stream(adapters: Params) -> jax.Array:
            return run_layers(config, params, tokens, texts=tokens, adapters=adapters, recompute=recompute)[0]

        return jax.vjp(stream, adapters)[1]

    texts = jax.ShapeDtypeStruct((5, TOKENS), jnp.int32)
    with jax.enable_x64(False):
        residuals = jax.eval_shape(differentiate, params, abstract_adapters(config, params), texts)
    kept = [leaf for leaf in jax.tree.leaves(residuals) if leaf.shape[:2] in ((3, 5), (3, 5 * TOKENS))]
    assert bytes_of(kept) == 3 * 5 * TOKENS * costs.kept_bytes(config, dtype, TOKENS, recompute, RANK)


def gradient_bytes(config: Config, rows: int, recompute: Recompute) -> int:
    recipe, places = Recipe(rank=RANK, batch=rows, rows_at_once=rows, recompute=recompute), (rows, TOKENS)
    params = abstract(config)
    batch = Rows(*(jax.ShapeDtypeStruct(places, kind) for kind in (jnp.int32, jnp.int32, jnp.int32, bool)))  # pyright: ignore[reportArgumentType]

    def gradient(params: Params, adapters: Params, rows: Rows) -> Any:
        return mean_gradient(config, recipe, params, adapters, Lesson(rows))

    return temporary_bytes(jax.jit(gradient).lower(params, abstract_adapters(config, params), batch))


def test_memory_of_training_grows_with_rows_as_told():
    """And not as it is told where something is computed once more."""
    config = replace(WIDE, num_layers=4, vocabulary=32)
    with jax.enable_x64(False):
        grown = gradient_bytes(config, 8, "nothing") - gradient_bytes(config, 4, "nothing")
    told = {
        recompute: np.diff([costs.training_memory(config, jnp.float32, n, TOKENS, recompute, RANK) for n in (4, 8)])
        for recompute in get_args(Recompute)
    }
    assert told["nothing"] == pytest.approx(grown, rel=0.3)
    assert max(told["elementwise"], told["layers"]) < 0.6 * grown


def test_sampling_keeps_one_cache_and_no_copy_of_it():
    config, batch = replace(WIDE, num_layers=4), 16

    def needed(tokens: int) -> int:
        keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), batch))
        prompts, lengths = (jax.ShapeDtypeStruct(shape, jnp.int32) for shape in ((batch, 4), (batch,)))
        lowered = sample.lower(config, abstract(config), prompts, lengths, keys, num_tokens=tokens)
        return temporary_bytes(lowered)

    with jax.enable_x64(False):
        grown = needed(400) - needed(200)
    told = [costs.sampling_memory(config, jnp.float32, batch, 4 + tokens) for tokens in (200, 400)]
    assert told[1] - told[0] <= grown < 1.5 * (told[1] - told[0])


def test_a_step_takes_the_longer_of_computing_and_moving():
    assert Work(10, 6).seconds(Device(peak=5, bandwidth=2)) == 3
    assert Work(10, 6).seconds(Device(peak=2, bandwidth=5)) == 5
    config, device = SHAPES["qwen2.5-7b"], Device(peak=1e15, bandwidth=3e12)
    few, many = (costs.sampling_step(config, jnp.bfloat16, batch, 150) for batch in (1, 10_000))
    assert few.seconds(device) == few.moved / device.bandwidth == pytest.approx(14.1e9 / 3e12, rel=0.01)
    assert many.operations == 10_000 * few.operations
    assert many.seconds(device) < 10_000 * few.seconds(device) / 50


def test_stages_take_what_their_parts_take():
    config, device, dtype = SHAPES["qwen3-0.6b"], Device(peak=1e14, bandwidth=1e12), jnp.bfloat16
    learning = Stage("train", rows=30, row_tokens=256, rows_at_once=2, learned=0.4, recompute="layers")
    sampled: dict[str, Any] = {
        "prompts": 250,
        "prompt_tokens": 100,
        "completions": 500,
        "completion_tokens": 40,
        "batch": 100,
    }
    writing = Stage("complete", **sampled)
    stages = [writing, learning, learning._replace(**sampled)]
    wrote, learned, both = expect(config, dtype, stages, device)
    reading = 5 * costs.reading(config, dtype, 50, 100).seconds(device)
    assert wrote.seconds == reading + 5 * 40 * costs.sampling_step(config, dtype, 100, 140).seconds(device)
    assert learned.seconds == 30 * 256 * costs.training_operations(config, 256, learned=0.4) / device.peak
    assert both.seconds == pytest.approx(wrote.seconds + learned.seconds)
    (whole,) = expect(config, dtype, [learning._replace(trained="everything")], device)
    assert 1.4 < whole.seconds / learned.seconds < 1.5
    assert whole.memory - learned.memory == pytest.approx(20 * costs.count_parameters(config), rel=0.01)
    assert both.memory == max(wrote.memory, learned.memory)
    assert np.all(np.array([wrote.memory, learned.memory]) > costs.weight_bytes(config, dtype))
