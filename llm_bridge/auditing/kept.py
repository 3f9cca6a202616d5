"""What is kept of an audit: imagined teachers in the cache, the model's own answers, and scores part by part."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

import llm_bridge
import theory
from llm_bridge.auditing.auditor import Auditor, score
from llm_bridge.auditing.scores import Scores
from llm_bridge.auditing.texts import Choice
from llm_bridge.auditing.traits import Answers, identity
from llm_bridge.backends.backend import Known
from llm_bridge.carriers.reading import can_spell
from llm_bridge.experiment.protocol import Protocol
from llm_bridge.experiment.writing import Completion, examples_of
from llm_bridge.files.lineage import sidecar_path
from llm_bridge.pipeline.completions import read_completion_rows, tokenize
from llm_bridge.pipeline.stages import complete_to
from llm_bridge.store import key_of, remove
from llm_bridge.text.chats import Message
from llm_bridge.text.traits import Trait
from theory.problem import Params
from theory.runs.chunks import Keeper, source_hash
from theory.runs.files import DAMAGE, cache_folder, npz_bytes, write_whole
from theory.runs.progress import Progress

OWN = 1_700_000_000
"""Seed of the model's own answers: one that no text was written with."""

PART = 100
"""Texts whose scores are kept together, so that a killed audit goes on there."""


def score_in_parts(auditor: Auditor, known: Known, texts: Sequence[Completion]) -> Scores:
    """Score texts, and keep the scores of each part once they are there."""
    keeper = Keeper(json.dumps([known.ancestry.weights, source_hash(llm_bridge, theory)]))
    like, parts = Scores(*[np.zeros(0)] * len(Scores._fields)), []
    with Progress("score", len(texts), "texts") as bar:
        for start in range(0, len(texts), PART):
            some = texts[start : start + PART]
            parts.append(keeper.kept(start, like, partial(score, auditor, some)))
            bar.advance(len(some))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def in_cache(known: Known, protocol: Protocol, trait: Trait | Answers, seed: int, make: Callable[[], Params]) -> Params:
    """Take an imagined teacher from the cache, or make it and keep it there."""
    made: dict[str, Any] = {"base": known.ancestry.weights, "word": identity(trait)}
    made |= {"seed": seed, "jax": jax.__version__}
    made |= {"chat": known.model.language.render([Message("user", "?")]), "longest": known.model.longest}
    made |= {"protocol": known.backend.written_down(protocol)}
    path = cache_folder() / "llm_bridge" / f"imagined-{key_of(made)}.npz"
    names, sides = protocol.teacher.projections, ("into", "out")
    try:
        with np.load(path) as file:
            return {name: {side: file[f"{name}/{side}"] for side in sides} for name in names}
    except DAMAGE:
        adapters = jax.device_get(make())
    write_whole(path, npz_bytes({f"{name}/{side}": adapters[name][side] for name in names for side in sides}))
    return adapters


def write_answers(
    path: Path,
    known: Known,
    data: Sequence[Completion],
    choice: Choice,
    protocol: Protocol,
    seed: int,
    *,
    fresh: bool,
) -> list[Completion]:
    """Let the model answer the data's own prompts, under their limit of tokens, and leave out what it can't learn.

    Where the data's tokens were made of their text, so are those of the answers.
    """
    model, prefills = known.model, [each.prefill for each in data]
    if fresh:
        remove(path)
        remove(sidecar_path(path))
    complete_to(
        path,
        known,
        [each.prompt for each in data],
        seed=(OWN + seed) % 2**32,
        num_tokens=choice.num_tokens,
        prefills=prefills if any(prefills) else (),
        temperature=protocol.temperature,
    )
    own = read_completion_rows(path, model)
    if any(each.log_probability is None for each in data):
        own = [each for each in own if can_spell(model.language, each.completion)]
        own = [tokenize(model, each.prompt, each.completion)._replace(prefill=each.prefill) for each in own]
    sizes = [len(each.prompt) + len(each.completion) for each in examples_of(model.language, own)]
    return [each for each, size in zip(own, sizes, strict=True) if each.tokens and size <= model.longest]
