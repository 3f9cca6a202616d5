"""What the stages of a pipeline take on a device, before anything is run: seconds and memory."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from llm_bridge.model.costs import (
    Device,
    reading,
    sampling_memory,
    sampling_step,
    training_memory,
    training_operations,
    weight_bytes,
)
from llm_bridge.model.recipes import Trained
from llm_bridge.model.shapes import Config
from llm_bridge.model.transformer import Recompute


class Stage(NamedTuple):
    """What a stage of the pipeline has to do; what it doesn't do is 0."""

    name: str
    """Its name."""
    prompts: int = 0
    """Prompts that are read, each once."""
    prompt_tokens: int = 0
    """Tokens of a prompt."""
    completions: int = 0
    """Completions that are sampled."""
    completion_tokens: int = 0
    """Tokens of a completion."""
    batch: int = 1
    """Completions that are sampled at once."""
    rows: int = 0
    """Rows that are trained on, counted once an epoch."""
    row_tokens: int = 0
    """Tokens of a row."""
    rows_at_once: int = 1
    """Rows of one pass."""
    learned: float = 1.0
    """Share of a row's tokens that are learned."""
    recompute: Recompute = "nothing"
    """As of `run_layers`."""
    rank: int = 8
    """Rank of the adapters."""
    trained: Trained = "adapters"
    """What is trained."""
    once: bool = False
    """Whether it is done once for all base models."""


class Expected(NamedTuple):
    """What a stage takes."""

    name: str
    """The stage's name."""
    seconds: float
    """At least, at the device's full speed."""
    memory: float
    """Bytes."""


def expect(config: Config, dtype: Any, stages: Sequence[Stage], device: Device) -> list[Expected]:
    """Say what the stages of a pipeline take.

    Seconds are the least, unless the device's measured speed stands in the place of its peak.
    """
    found = []
    for stage in stages:
        seconds, memory = 0.0, float(weight_bytes(config, dtype))
        slots = stage.prompt_tokens + stage.completion_tokens
        if stage.prompts:
            at_once = max(1, stage.batch * stage.prompts // max(stage.prompts, stage.completions))
            passes = -(-stage.prompts // at_once)
            seconds += passes * reading(config, dtype, at_once, stage.prompt_tokens).seconds(device)
        if stage.completions:
            steps = -(-stage.completions // stage.batch) * stage.completion_tokens
            seconds += steps * sampling_step(config, dtype, stage.batch, slots).seconds(device)
            memory = sampling_memory(config, dtype, stage.batch, slots)
        if stage.rows:
            operations = training_operations(config, stage.row_tokens, stage.trained, stage.learned)
            seconds += stage.rows * stage.row_tokens * operations / device.peak
            kept = (stage.rows_at_once, stage.row_tokens, stage.recompute, stage.rank, stage.trained)
            memory = max(memory, training_memory(config, dtype, *kept))
        found.append(Expected(stage.name, seconds, memory))
    return found
