"""One model on one device, on every mesh of eight and in two processes: the same numbers and the same samples.

Run as a script, this file measures; the tests run it and compare. What is to be compared is computed in float64, where
two logits that rounding can swap don't meet; rows fill no mesh evenly where there are eight of them.
"""

import json
import math
import os
import re
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, PartitionSpec

from llm_bridge.chats import Example, Rows, pack
from llm_bridge.experiment import log_probabilities
from llm_bridge.finetuning import fine_tune
from llm_bridge.lessons import Lesson, mean_gradient
from llm_bridge.mesh import Devices, bytes_a_device, choose_mesh, fewest_to_share, on_mesh, written_by_first
from llm_bridge.placement import fetch, shardings, spread
from llm_bridge.recipes import Recipe, start_training
from llm_bridge.sampling import sample
from llm_bridge.shapes import Config, initialize
from llm_bridge.transformer import apply, empty_cache
from theory.command_line import InputError
from theory.processes import joined

EPS = float(np.finfo(float).eps)
CONFIG = Config(
    vocabulary=24,
    width=16,
    num_layers=2,
    num_heads=8,
    num_key_heads=4,
    head_size=4,
    hidden=16,
    biases=True,
    head_norms=True,
)
TIED = replace(CONFIG, vocabulary=13, tied=True)
RECIPE = Recipe(learning_rate=1e-2, num_epochs=1, batch=8, rows_at_once=4, warmup=1, rank=2)
CHOSEN = (1, 4, 9)
NUM_PROMPTS, NUM_SAMPLES, NUM_TOKENS = 6, 2, 5
SEVEN_BILLION = Config(
    vocabulary=152_064,
    width=3584,
    num_layers=28,
    num_heads=28,
    num_key_heads=4,
    head_size=128,
    hidden=18_944,
    biases=True,
)


def draw_rows(vocabulary: int) -> Rows:
    random = np.random.default_rng(0)
    sizes = random.integers(1, 6, (80, 2))
    rows = pack([Example(*(random.integers(0, vocabulary, size).tolist() for size in pair)) for pair in sizes], 10)
    return Rows(*(leaf[:24] for leaf in rows))


def draw(config: Config, seed: int) -> Any:
    """Host parameters, larger than at initialization, so that what they say differs from token to token."""
    params = jax.device_get(initialize(config, jax.random.key(seed), jnp.float64))
    return jax.tree.map(lambda leaf: 1.5 * leaf + (leaf.ndim < 3) * np.linspace(0, 0.1, leaf.shape[-1]), params)


def largest_gather(program: str) -> int:
    """Numbers in the largest array that a compiled program collects from several devices."""
    sizes = re.findall(r"= \(?\w+\[([\d,]*)\]\S* (?:all-gather|all-to-all|collective-permute)", program)
    return max((math.prod(map(int, filter(None, size.split(",")))) for size in sizes), default=0)


def measure(tensor: int | None) -> dict[str, np.ndarray]:
    with on_mesh(tensor and choose_mesh(CONFIG, tensor=tensor)):
        rows, random = draw_rows(CONFIG.vocabulary), np.random.default_rng(1)
        layout = {"positions": rows.positions, "texts": rows.texts}
        params, teacher = (spread(draw(CONFIG, seed)) for seed in (0, 1))
        start = start_training(CONFIG, RECIPE, params, jax.random.key(0))
        adapters = spread(jax.tree.map(lambda leaf: 0.3 * random.normal(size=leaf.shape), start))
        logits = jax.jit(partial(apply, CONFIG))(params, rows.tokens, adapters=adapters, **layout)
        lesson = Lesson(Rows(*(leaf[:8] for leaf in rows)), "chosen", teacher)

        @jax.jit
        def gradient(params: Any, adapters: Any, lesson: Any) -> Any:
            return mean_gradient(CONFIG, RECIPE, params, adapters, Lesson(*lesson, "chosen", teacher, CHOSEN))

        loss, slopes = jax.jit(
            lambda *given: mean_gradient(CONFIG, RECIPE, *given[:2], Lesson(given[2], "chosen", given[3], CHOSEN))
        )(params, adapters, lesson.rows, teacher)
        tuned = fine_tune(CONFIG, RECIPE, params, Lesson(rows, "distribution", teacher), chunk=3)
        everything = fine_tune(
            TIED, replace(RECIPE, trained="everything"), spread(draw(TIED, 2)), Lesson(draw_rows(13)), chunk=3
        )
        prompts = random.integers(0, CONFIG.vocabulary, (NUM_PROMPTS, 7))
        lengths = np.arange(7 - NUM_PROMPTS, 7) + 1
        keys = jax.random.split(jax.random.key(7), NUM_PROMPTS)
        options = {"num_samples": NUM_SAMPLES, "num_tokens": NUM_TOKENS, "stops": (2, 7)}
        sampler = sample.lower(CONFIG, params, prompts, lengths, keys, adapters=adapters, **options).compile()
        cache = jax.jit(partial(empty_cache, CONFIG, 8, 10))()
        results = {
            "logits": logits,
            "loss": loss,
            "slopes": slopes,
            "tuned": tuned,
            "everything": everything,
            "sampled": sampler(params, prompts, lengths, keys, adapters=adapters)._asdict(),
            "chances": log_probabilities(CONFIG, params, prompts, lengths),
        }
        split = {"params": params, "adapters": tuned, "everything": everything, "logits": logits, "cache": cache.keys}
        parts = jax.tree.map(lambda leaf: np.array(leaf.addressable_shards[0].data.shape), split)
        whole = fetch(results) | {"parts": parts, "gathered": np.array(largest_gather(sampler.as_text()))}
    leaves, _ = jax.tree.flatten_with_path(whole)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def try_to_write(path: Path) -> str:
    try:
        written_by_first(lambda: path.write_text("done"))
    except (InputError, OSError) as error:
        return type(error).__name__
    return path.read_text()


def main(output: str, tensors: list[int | None], processes: dict[str, Any]) -> None:
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_numpy_rank_promotion", "raise")
    jax.config.update("jax_disable_most_optimizations", True)
    folder = Path(output)
    with joined(Devices(**processes)):
        for tensor in tensors:
            np.savez(folder / f"{jax.process_index()}-{tensor}.npz", allow_pickle=False, **measure(tensor))
        said = [try_to_write(folder / name) for name in ("written", "no folder/written")]
        print(json.dumps([jax.device_count(), jax.local_device_count(), said]))


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))
