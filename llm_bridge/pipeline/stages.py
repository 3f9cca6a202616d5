"""The stages that make models and data, each from files to one file: skipped when done, resumed when killed."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from llm_bridge.experiment import Completion, Model, complete, is_kept, read_completions, teach
from llm_bridge.files.lineage import Ancestry, Origin, data_digest, read_sidecar, sidecar_path
from llm_bridge.files.partial import TrainingState, append_rows, kept_rows, partial_path
from llm_bridge.finetuning import fine_tune
from llm_bridge.known import Known
from llm_bridge.pipeline.arms import Imitated, make_lesson
from llm_bridge.pipeline.completions import read_completion_rows
from llm_bridge.pipeline.finished import finish, is_written, key_of, made_by, save_model
from llm_bridge.recipes import Recipe, merge
from llm_bridge.words.filtering import count_rejections
from llm_bridge.words.traits import Trait
from theory.command_line import InputError

UNKNOWN = Ancestry(weights="unknown")
"""Who wrote data that have no origin beside them."""


def teach_to(path: Path, base: Known, trait: Trait, recipe: Recipe, copies: int, seed: int) -> Known:
    """Make a teacher.

    Args:
        path: Its checkpoint, as of `path_of`.
        base: Who is taught.
        trait: What it is to love.
        recipe: The fine-tuning.
        copies: As of `teach`.
        seed: Root of randomness.

    Returns:
        The teacher.
    """
    settings = {"stage": "teach", "base": base.ancestry.weights, "trait": trait.word, "recipe": asdict(recipe)}
    settings |= {"copies": copies, "seed": seed}
    state = TrainingState(partial_path(path, key_of(settings)))
    if known := made_by(path, base, settings):
        state.forget()
        return known
    params = teach(base.model, trait, recipe, seed=seed, copies=copies, resume=state.resume, after=state.keep)
    known = save_model(path, base, params, settings)
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
    num_samples: int = 1,
    temperature: float = 1.0,
) -> None:
    """Sample completions.

    Args:
        path: The JSON lines to write.
        writer: Who writes.
        prompts: What is asked.
        seed: Root of the samples.
        num_tokens: Most tokens of a completion.
        system: The system prompt, if any.
        num_samples: Completions of each prompt.
        temperature: The sampler's.
    """
    sampling = {"seed": seed, "num_tokens": num_tokens, "num_samples": num_samples, "temperature": temperature}
    asked = hashlib.sha256("\n".join(prompts).encode()).hexdigest()
    sampling |= {"prompts": asked, "num_prompts": len(prompts)}
    origin = Origin(writer=writer.ancestry, system_prompt=system, sampling=sampling, data="")
    part = partial_path(path, key_of(asdict(origin)))
    if is_written(path, origin):
        part.unlink(missing_ok=True)
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
        num_samples=num_samples,
        temperature=temperature,
        first=done,
    )
    part.unlink(missing_ok=True)
    append_rows(part, rows)
    for batch in batches:
        fresh = [each._asdict() for each in batch]
        append_rows(part, fresh)
        rows += fresh
    finish(path, rows, origin)
    part.unlink(missing_ok=True)


def filter_to(path: Path, source: Path, reader: Model, banned: frozenset[int] = frozenset()) -> dict[str, int]:
    """Keep the completions that pass the filter.

    Args:
        path: The JSON lines to write.
        source: The completions.
        reader: Whose stop tokens end a completion.
        banned: Numbers that no completion may have.

    Returns:
        How many were kept, and how many rejected for each reason.

    Raises:
        InputError: If nothing is left.
    """
    before = Origin(writer=UNKNOWN, system_prompt=None, sampling={}, data=data_digest(source))
    if sidecar_path(source).exists():
        before = read_sidecar(source)
    written = read_completion_rows(source, reader)
    kept = [each for each in written if is_kept(reader.language, each, banned)]
    counts = count_rejections((each.completion for each in written), banned=banned)
    counts["no end"] = counts["kept"] - len(kept)
    counts["kept"] = len(kept)
    rules = {"rule": "numbers only", "banned": sorted(banned), "counts": counts}
    origin = replace(before, filter=rules, parents=(before.data,), data="")
    if not kept:
        reasons = ", ".join(f"{reason} {count}" for reason, count in counts.items() if count)
        raise InputError(f"the filter leaves nothing of {source} ({reasons}): sample more, or from another model")
    if not is_written(path, origin):
        finish(path, [each._asdict() for each in kept], origin)
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
    """Train a student.

    Args:
        path: Its checkpoint, as of `path_of`.
        start: What it is before.
        completions: What it learns from.
        recipe: The fine-tuning.
        imitated: What of them, or of the teacher.
        teacher: Whose distribution; None for sampled tokens.
        seed: Root of randomness.

    Returns:
        The student.

    Raises:
        InputError: If it can't read the completions.
    """
    data = hashlib.sha256(json.dumps([each._asdict() for each in completions]).encode()).hexdigest()
    settings = {"stage": "train", "start": start.ancestry.weights, "data": data, "recipe": asdict(recipe)}
    settings |= {"imitated": imitated, "teacher": teacher and teacher.ancestry.weights, "seed": seed}
    state = TrainingState(partial_path(path, key_of(settings)))
    if known := made_by(path, start, settings):
        state.forget()
        return known
    try:
        rows = read_completions(start.model, completions)
    except ValueError as error:
        raise InputError(f"{path} can't be made of these completions: {error}") from error
    lesson = make_lesson(rows, imitated, teacher and teacher.model.params, start.model.language)
    trained = fine_tune(
        start.model.config, recipe, start.model.params, lesson, seed=seed, resume=state.resume, after=state.keep
    )
    known = save_model(path, start, merge(recipe, start.model.params, trained), settings)
    state.forget()
    return known
