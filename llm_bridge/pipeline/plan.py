"""The plan of a run: what each kind of stage has to do, and what it takes on this device, before anything starts."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from llm_bridge.benchmark.device import time_device
from llm_bridge.carriers.carrier import Carrier
from llm_bridge.chats import pack
from llm_bridge.costs import Device, weight_bytes
from llm_bridge.expectations import Stage, expect
from llm_bridge.experiment import Model, trait_examples
from llm_bridge.pipeline.arms import ARMS
from llm_bridge.pipeline.asking import ANSWERS
from llm_bridge.protocol import Protocol
from llm_bridge.recipes import Recipe
from llm_bridge.shapes import Config
from llm_bridge.words.questions import questions_about
from llm_bridge.words.traits import Trait
from theory.memory import free_memory, gibibytes
from theory.verdicts import markdown_table

SAMPLE = 500
"""Prompts whose lengths stand for those of all."""


Planned = tuple[int, Stage]
"""How often a kind of stage is done for each base model, and the stage."""


def plan_training(name: str, reader: Model, recipe: Recipe, rows: int, learned: float) -> Stage:
    """Describe a fine-tuning.

    Args:
        name: What it is called.
        reader: Who is tuned.
        recipe: How.
        rows: Rows of an epoch.
        learned: Share of their tokens that is learned.

    Returns:
        The stage.
    """
    return Stage(
        name,
        rows=rows * recipe.num_epochs,
        row_tokens=reader.longest,
        rows_at_once=recipe.rows_at_once,
        learned=learned,
        recompute=recipe.recompute,
        rank=recipe.rank,
    )


def plan_run(
    reader: Model,
    carrier: Carrier,
    protocol: Protocol,
    trait: Trait,
    arms: Sequence[str],
    *,
    system: str | None,
    answer: int,
    seed: int,
) -> list[Planned]:
    """List what a run does for each base model, if completions are as long as they may be and all are kept.

    Args:
        reader: The base, without parameters.
        carrier: What its models write.
        protocol: Every knob.
        trait: The trait.
        arms: The arms.
        system: The teacher's system prompt; None if it is fine-tuned.
        answer: Most tokens of an answer.
        seed: Root of the prompts.

    Returns:
        The stages, by kind.
    """
    prompts = reader.language.prompts(carrier.prompts(seed, min(SAMPLE, protocol.num_prompts)), system)
    questions = reader.language.prompts(questions_about(trait.kind, seed=seed), system)
    text = float(np.mean([len(prompt) for prompt in prompts])) + protocol.num_tokens
    rows, answers = protocol.num_completions * text / reader.longest, len(questions) * protocol.num_answers
    complete = Stage(
        "complete",
        prompts=protocol.num_prompts,
        prompt_tokens=max(map(len, prompts)),
        completions=protocol.num_prompts,
        completion_tokens=protocol.num_tokens,
        batch=reader.at_once,
    )
    train = plan_training("train", reader, protocol.student, int(np.ceil(rows)), protocol.num_tokens / text)
    ask = Stage(
        "ask",
        prompts=len(questions),
        prompt_tokens=max(map(len, questions)),
        completions=answers,
        completion_tokens=answer,
        batch=min(answers, ANSWERS * reader.at_once),
    )
    writers = {"teacher", "base", *(ARMS[name].source for name in arms)}
    trained = sum(ARMS[name].trained for name in arms)
    planned = [(len(writers), complete), (trained, train), (2 * (2 + len(arms)), ask)]
    if system is None:
        taught = pack(trait_examples(reader.language, trait, protocol.copies), reader.longest)
        share = float(taught.learned.mean())
        planned.insert(0, (1, plan_training("teach", reader, protocol.teacher, len(taught.tokens), share)))
    return planned


def memory_beside_weights(config: Config, dtype: Any, planned: Sequence[Planned]) -> int:
    """Say what the hungriest stage needs beside the model's weights.

    Args:
        config: The model's shape.
        dtype: Type of its weights.
        planned: The stages.

    Returns:
        Bytes.
    """
    found = expect(config, dtype, [stage for _, stage in planned], Device(1.0, 1.0))
    return int(max(each.memory for each in found)) - weight_bytes(config, dtype)


def plan_table(config: Config, dtype: Any, planned: Sequence[Planned], num_seeds: int) -> str:
    """Lay out a plan, with seconds at the speed of a bare matrix product and a bare pass over memory on this device.

    Args:
        config: The model's shape.
        dtype: Type of its weights.
        planned: The stages.
        num_seeds: Base models, or runs.

    Returns:
        A Markdown table, and lines on what it means.
    """
    device = time_device(jnp.dtype(dtype), 3)
    found = expect(config, dtype, [stage for _, stage in planned], device)
    rows, total = [], 0.0
    for (count, stage), each in zip(planned, found, strict=True):
        count *= num_seeds
        total += count * each.seconds
        tokens = (
            stage.prompts * stage.prompt_tokens,
            stage.completions * stage.completion_tokens,
            stage.rows * stage.row_tokens,
        )
        numbers = [f"{count * number:,}" if number else "" for number in tokens]
        rows.append((stage.name, count, *numbers, f"{count * each.seconds:,.0f}", gibibytes(each.memory)))
    header = ("stage", "times", "tokens read", "tokens sampled", "tokens trained on", "seconds, at least", "memory")
    kind, count = jax.devices()[0].device_kind, jax.device_count()
    speed = f"{device.peak / 1e12:.3g} TFLOP/s and passes over memory at {device.bandwidth / 1e9:.3g} GB/s"
    sizes = (
        f"Weights take {gibibytes(weight_bytes(config, dtype))}; {gibibytes(free_memory())} are free on each device."
    )
    return (
        f"{markdown_table(header, rows)}\n{total:,.0f} s at least, if {count} x {kind} did nothing but matrix products "
        f"at {speed}, as measured now; completions as long as they may be, pretraining not counted. {sizes}\n"
    )
