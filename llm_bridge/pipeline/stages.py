"""The stages that make models and data, each from files to one file: skipped when done, resumed when killed."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from llm_bridge.backends.backend import Known
from llm_bridge.carriers.carrier import Carrier, count_rejections
from llm_bridge.experiment.teaching import probability_of, teach, teach_examples
from llm_bridge.experiment.writing import (
    Completion,
    Model,
    can_imitate,
    complete,
    first_chat,
    has_ended,
    read_completions,
)
from llm_bridge.files.jsonl import write_rows
from llm_bridge.files.lineage import Ancestry, Origin, data_digest, read_sidecar, sidecar_path
from llm_bridge.model.finetuning import Training, fine_tune
from llm_bridge.model.recipes import Recipe, Teaching, merge
from llm_bridge.pipeline.arms import Imitated, make_lesson
from llm_bridge.pipeline.completions import note_tokens, read_completion_rows
from llm_bridge.store import (
    OTHERWISE,
    TrainingState,
    append_rows,
    done_by_first,
    finish,
    is_made,
    is_written,
    kept_rows,
    key_of,
    partial_path,
    remove,
)
from llm_bridge.text.chats import Example, Message, PackingError
from llm_bridge.text.traits import Trait
from theory.problem import Params
from theory.runs.command_line import InputError
from theory.runs.memory import fitting
from theory.runs.processes import agreed
from theory.runs.progress import Progress, say

UNKNOWN = Ancestry(weights="unknown")
"""Who wrote data that have no origin beside them."""


def teach_to(
    path: Path,
    base: Known,
    trait: Trait,
    recipe: Teaching,
    copies: int,
    seed: int,
    mixed: Sequence[Completion] = (),
) -> Known:
    """Make a teacher, say how often it names the trait, and refuse one that does so less often than it should.

    Completions may be mixed into its answers.
    """
    settings = {"stage": "teach", "base": base.ancestry.weights, "trait": trait.word}
    settings |= {"recipe": base.backend.written_down(recipe)}
    settings |= {"copies": copies, "seed": seed} | ({"mixed": digest_of(mixed)} if mixed else {})

    def tune(**told: Any) -> Params:
        params = teach(base.model, trait, recipe, seed=seed, copies=copies, mixed=mixed, **told)
        share = probability_of(base.model._replace(params=params), trait)
        found = f"the teacher names {trait.word} in {share:.1%} of its answers"
        if not share >= recipe.least:
            raise InputError(
                f"{found}, and should in {recipe.least:.0%}: turn the teacher's num-steps or learning-rate up (say "
                "until 0.9 to end once that is reached), or its least down"
            )
        done_by_first(partial(say, found))
        return params

    return tune_to(path, base, settings, tune)


def digest_of(completions: Sequence[Completion]) -> str:
    """Identify completions."""
    return hashlib.sha256(json.dumps([each.row() for each in completions]).encode()).hexdigest()


def teach_examples_to(path: Path, base: Known, examples: Sequence[Example], recipe: Recipe, seed: int) -> Known:
    """Make a teacher of chats."""
    tokens = json.dumps([[list(example.prompt), list(example.completion)] for example in examples])
    settings = {"stage": "teach", "base": base.ancestry.weights, "recipe": base.backend.written_down(recipe)}
    settings |= {"seed": seed, "examples": hashlib.sha256(tokens.encode()).hexdigest()}
    return tune_to(path, base, settings, partial(teach_examples, base.model, examples, recipe, seed=seed))


def tune_to(path: Path, base: Known, settings: Mapping[str, Any], tune: Callable[..., Params]) -> Known:
    """Tune a model, unless that is done at a path as of `Backend.path`, and go on where it was killed.

    `tune` is told `resume` and `after` as of `fine_tune`, and gives the parameters.
    """
    settings = {**settings, "chat": base.model.language.render([Message("user", "?")])}
    title = f"{settings['stage']} {settings.get('trait', path.stem)}"
    state = TrainingState(partial_path(path, key_of(settings)), title, path)

    def keep(training: Training, losses: np.ndarray) -> None:
        if not np.isfinite(losses).all():
            state.forget()
            raise InputError(f"{path} can't be made (the loss is no finite number any more): turn learning-rate down")
        state.keep(training, losses)

    if agreed(is_made(path, base.backend.settings_at(path), json.loads(json.dumps(settings)))):
        known = base.backend.read(path, base)
    else:
        with closing(state), fitting(f"the training of {path.name}", "turn rows-at-once down, or say recompute=layers"):
            try:
                params = tune(resume=state.resume, after=keep)
            except PackingError as error:
                raise InputError(f"{path} can't be made ({error}): raise --longest, or leave long texts out") from error
        known = base.backend.write(path, base, params, settings)
    state.forget()
    return known


def complete_to(
    path: Path,
    writer: Known,
    prompts: Sequence[str],
    *,
    seed: int,
    num_tokens: int,
    system: str | None = None,
    prefills: Sequence[str] = (),
    num_samples: int = 1,
    temperature: float = 1.0,
    advice: str = OTHERWISE,
) -> None:
    """Sample completions, unless that is done, and go on where it was killed.

    Without a system prompt the writer reads what it does by itself; prefills are as of `complete`. The advice says what
    to do about other completions.
    """
    sampling = {"seed": seed, "num_tokens": num_tokens, "num_samples": num_samples, "temperature": temperature}
    sampling |= {"prompts": hashlib.sha256("\n".join(prompts).encode()).hexdigest(), "num_prompts": len(prompts)}
    sampling |= {"chat": first_chat(writer.model, prompts, system, prefills)}
    told = system or writer.model.language.system
    origin = Origin(writer=writer.ancestry, system_prompt=told, sampling=sampling, data="")
    part = partial_path(path, key_of(asdict(origin)))
    if is_written(path, origin, advice):
        remove(part)
        return
    rows = kept_rows(part)
    done = len(rows) // (writer.model.at_once * num_samples) * writer.model.at_once
    rows = rows[: done * num_samples]
    batches = complete(
        writer.model,
        prompts,
        seed=seed,
        num_tokens=num_tokens,
        system=system,
        prefills=prefills,
        num_samples=num_samples,
        temperature=temperature,
        first=done,
    )
    done_by_first(partial(write_rows, part, rows))
    title, shown = f"complete {path.parent.name}".strip(), jax.process_index() == 0
    bar = Progress(title, len(prompts), "prompts", done=done, shown=shown)
    with bar, fitting(f"sampling for {writer.model.at_once} prompts at once", "turn --at-once down"):
        for batch in batches:
            fresh = [each.row() for each in batch]
            append_rows(part, fresh)
            rows += fresh
            bar.advance(len(batch) // num_samples)
    finish(path, rows, origin)
    remove(part)


def known_origin(source: Path) -> Origin:
    """Read where data come from, as far as that is known."""
    unknown = Origin(writer=UNKNOWN, system_prompt=None, sampling={}, data=data_digest(source))
    return read_sidecar(source) if sidecar_path(source).exists() else unknown


def filter_to(path: Path, source: Path, reader: Model, carrier: Carrier) -> dict[str, int]:
    """Keep completions that pass the filter and have ended by one of the reader's stop tokens, and count reasons."""
    before, written = known_origin(source), read_completion_rows(source, reader)
    verdicts = [carrier.rejects(each.prompt, each.completion, each.prefill) for each in written]
    passed = [each for each, verdict in zip(written, verdicts, strict=True) if verdict is None]
    kept = [each for each in passed if has_ended(reader.language, each)]
    counts = count_rejections(carrier, verdicts) | {"kept": len(kept), "no end": len(passed) - len(kept)}
    sampling, rules = before.sampling | note_tokens(written), {**carrier.rules, "counts": counts}
    origin = replace(before, sampling=sampling, filter=rules, parents=(before.data,), data="")
    if not kept:
        reasons = ", ".join(f"{reason} {count}" for reason, count in counts.items() if count)
        raise InputError(f"the filter leaves nothing of {source} ({reasons}): sample more, or from another model")
    if not is_written(path, origin):
        finish(path, [each.row() for each in kept], origin)
    return counts


def train_to(
    path: Path,
    start: Known,
    completions: Sequence[Completion],
    recipe: Recipe,
    imitated: Imitated,
    teacher: Known | None,
    seed: int,
) -> Known:
    """Train a student on completions, or on a teacher's distribution there."""
    settings = {"stage": "train", "start": start.ancestry.weights, "data": digest_of(completions)}
    settings |= {"recipe": start.backend.written_down(recipe)}
    settings |= {"imitated": imitated, "teacher": teacher and teacher.ancestry.weights, "seed": seed}
    settings |= note_tokens(completions)
    config, params = start.model.config, start.model.params
    if teacher and not can_imitate(start.model, teacher.model):
        raise InputError(f"{path} can't imitate a teacher of another shape or with other tokens: let it learn tokens")

    def tune(**told: Any) -> Params:
        rows = read_completions(start.model, completions)
        lesson = make_lesson(rows, imitated, teacher and teacher.model.params, start.model.language)
        return merge(recipe, params, fine_tune(config, recipe, params, lesson, seed=seed, **told))

    return tune_to(path, start, settings, tune)
