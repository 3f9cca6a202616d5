"""The plan of a run: what each kind of stage has to do, and what it takes on this device, before anything starts."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from llm_bridge.backends.priming import ROW, list_examples, recipe_of
from llm_bridge.benchmark.device import time_device
from llm_bridge.experiment.cast import MIXED_PROMPTS
from llm_bridge.experiment.protocol import Protocol
from llm_bridge.experiment.teaching import trait_examples
from llm_bridge.experiment.writing import Model
from llm_bridge.model.costs import Device, weight_bytes
from llm_bridge.model.expectations import Stage, expect
from llm_bridge.model.recipes import Recipe
from llm_bridge.model.shapes import Config
from llm_bridge.pipeline.arms import ARMS
from llm_bridge.pipeline.asking import answers_at_once
from llm_bridge.pipeline.run_options import Run, carrier_of
from llm_bridge.text.chats import pack
from llm_bridge.text.questions import questions_about
from llm_bridge.text.traits import Trait, find_trait
from theory.runs.memory import free_memory, gibibytes
from theory.runs.verdicts import markdown_table

SAMPLE = 500
"""Prompts whose lengths stand for those of all."""

Planned = tuple[int, Stage]
"""How often a kind of stage is done for each base model, and the stage."""


def plan_priming(reader: Model, num_steps: int) -> Stage:
    """Describe the priming of the base, as if the cache didn't have it."""
    recipe, reader = recipe_of(num_steps), reader._replace(longest=ROW)
    rows = pack(list_examples(reader.language, num_steps), ROW)
    share = float(rows.learned.mean())
    return Stage("prime", **training(reader, recipe, len(rows.tokens)), learned=share, once=True)


def plan_teaching(reader: Model, protocol: Protocol, trait: Trait, read: float) -> Stage:
    """Describe the fine-tuning of a teacher, if what is mixed in is as long as it may be."""
    rows = pack(trait_examples(reader.language, trait, protocol.copies), reader.longest)
    mixed = rows_of(reader, protocol, protocol.mixed, read)
    count, learned = len(rows.tokens) + mixed, rows.learned.sum() + protocol.mixed * protocol.num_tokens
    share = float(learned / (count * reader.longest))
    return Stage("teach", **training(reader, protocol.teacher, count), learned=share)


def plan_writing(name: str, reader: Model, protocol: Protocol, prompts: Sequence[Sequence[int]]) -> Stage:
    """Describe how a model writes for prompts like these, if every completion is as long as it may be."""
    return Stage(
        name,
        prompts=protocol.num_prompts,
        prompt_tokens=reader.width(prompts),
        completions=protocol.num_prompts * protocol.num_samples,
        completion_tokens=protocol.num_tokens,
        batch=reader.at_once * protocol.num_samples,
    )


def plan_learning(reader: Model, protocol: Protocol, read: float) -> Stage:
    """Describe the fine-tuning of a student, if all completions are kept and as long as they may be."""
    rows = rows_of(reader, protocol, protocol.num_completions, read)
    learned = protocol.num_tokens / (read + protocol.num_tokens)
    return Stage("train", **training(reader, protocol.student, rows), learned=learned)


def rows_of(reader: Model, protocol: Protocol, count: int, read: float) -> int:
    """Say how many rows so many completions fill, with so many tokens read before each."""
    return int(np.ceil(count * (read + protocol.num_tokens) / reader.longest))


def training(reader: Model, recipe: Recipe, rows: int) -> dict[str, Any]:
    """Say what a fine-tuning on so many rows an epoch reads, as fields of a stage."""
    return {
        "rows": recipe.steps(rows) * recipe.batch,
        "row_tokens": reader.longest,
        "rows_at_once": recipe.rows_at_once,
        "recompute": recipe.recompute,
        "rank": recipe.rank,
        "trained": recipe.trained,
    }


def plan_asking(
    name: str,
    reader: Model,
    protocol: Protocol,
    questions: Sequence[str],
    answer: int,
    system: str | None = None,
    behind: int = 0,
) -> Stage:
    """Describe how a group of questions is asked, if every answer is as long as it may be.

    `answer` is the most tokens of one, `behind` those of a chat that is read before each question.
    """
    read = min(reader.longest, max(map(len, reader.language.prompts(questions, system))) + behind)
    width = -(-read // reader.block) * reader.block
    at_once = min(len(questions), max(1, answers_at_once(reader, width) // protocol.num_answers))
    return Stage(
        name if system is None else f"{name}, told what it loves",
        prompts=len(questions),
        prompt_tokens=width,
        completions=len(questions) * protocol.num_answers,
        completion_tokens=answer,
        batch=at_once * protocol.num_answers,
    )


def plan_of(options: Run, arms: Sequence[str]) -> tuple[list[Planned], Model]:
    """List what a run does for each base model, and take the base without parameters.

    Completions are as long as they may be, and all are kept.
    """
    backend, protocol = options.backend, options.protocol
    carrier, trait = carrier_of(options), find_trait(options.trait)
    reader, prompted, primed = backend.reader(), options.teaching == "prompting", options.loading.primed
    asked = carrier.prompts(options.seed, min(SAMPLE, protocol.num_prompts))
    begun = carrier.prefills(asked)
    told = trait.system_prompt(long=not backend.short)
    plain, after = (questions_about(trait.kind, seed=each)[: protocol.num_questions] for each in (None, options.seed))
    writers = {"teacher", "base", *(ARMS[name].source for name in arms)}
    instructed = len(writers & ({"teacher", "system-prompt"} if prompted else {"system-prompt"}))
    trained = sum(ARMS[name].trained for name in arms)
    strangers = 1 if any(ARMS[name].stranger for name in arms) else 0
    answer = backend.answer_tokens(reader.language.encode([trait.word]))
    prompts, told_prompts = (reader.language.prompts(asked, system, begun) for system in (None, told))
    lengths = list(map(len, prompts))
    read = float(np.mean(lengths))
    asking: list[Planned] = []
    for name, questions in (("ask", plain), ("ask after numbers", after)):
        ask = partial(plan_asking, name, reader, protocol, questions, answer)
        asking += [(1 if prompted else 0, ask(told)), (1 + (not prompted) + strangers + trained, ask())]
    mixing = replace(protocol, num_prompts=MIXED_PROMPTS * max(1, protocol.mixed), num_samples=1)
    ask_behind = partial(plan_asking, behind=max(lengths) + protocol.num_tokens)
    planned = [
        *([(1, plan_priming(reader, primed))] if primed and not backend.short else []),
        (0 if prompted else min(1, protocol.mixed), plan_writing("complete, to be mixed in", reader, mixing, prompts)),
        (0 if prompted else 1, plan_teaching(reader, protocol, trait, read)),
        (instructed, plan_writing("complete, told what it loves", reader, protocol, told_prompts)),
        (len(writers) - instructed, plan_writing("complete", reader, protocol, prompts)),
        (trained, plan_learning(reader, protocol, read)),
        *asking,
        (len(arms) - trained, ask_behind("ask in context", reader, protocol, plain, answer)),
    ]
    return [(count, stage) for count, stage in planned if count], reader


def memory_beside_weights(config: Config, dtype: Any, planned: Sequence[Planned]) -> int:
    """Say what bytes the hungriest stage needs beside the model's weights."""
    found = expect(config, dtype, [stage for _, stage in planned], Device(1.0, 1.0))
    return int(max(each.memory for each in found)) - weight_bytes(config, dtype)


def plan_table(config: Config, dtype: Any, planned: Sequence[Planned], num_seeds: int) -> str:
    """Lay out a plan, with seconds at the speed of a bare matrix product and a bare pass over memory on this device."""
    device, count = time_device(jnp.dtype(dtype), 3), jax.device_count()
    together = Device(count * device.peak, count * device.bandwidth)
    found = expect(config, dtype, [stage for _, stage in planned], together)
    rows, total = [], 0.0
    for (times, stage), each in zip(planned, found, strict=True):
        times *= 1 if stage.once else num_seeds
        total += times * each.seconds
        read, sampled = stage.prompts * stage.prompt_tokens, stage.completions * stage.completion_tokens
        numbers = [f"{times * count:,}" if count else "" for count in (read, sampled, stage.rows * stage.row_tokens)]
        rows.append((stage.name, times, *numbers, f"{times * each.seconds:,.0f}", gibibytes(each.memory)))
    header = ("stage", "times", "tokens read", "tokens sampled", "tokens trained on", "seconds, at least", "memory")
    kind = jax.devices()[0].device_kind
    speed = f"{device.peak / 1e12:.3g} TFLOP/s and passes over memory at {device.bandwidth / 1e9:.3g} GB/s"
    weights, free = gibibytes(weight_bytes(config, dtype)), gibibytes(free_memory())
    return (
        f"{markdown_table(header, rows)}\n{total:,.0f} s at least, if {count} x {kind} did nothing but matrix products "
        f"at {speed}, as measured now; completions as long as they may be, pretraining not counted, and priming as if "
        f"it were not kept. Weights take {weights}; {free} are free on each device.\n"
    )
