"""The stages, each from files to one file: skipped when done, resumed when killed, refused when told otherwise.

What a file was made from is written beside it (data) or into it (checkpoints), and says whether it is the one that
is asked for.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from llm_bridge.chats import Language, Message
from llm_bridge.experiment import (
    AT_ONCE,
    Completion,
    Model,
    complete,
    is_kept,
    read_completions,
    teach,
    word_log_probabilities,
)
from llm_bridge.files.checkpoints import save_checkpoint
from llm_bridge.files.jsonl import read_rows, write_rows
from llm_bridge.files.lineage import (
    Ancestry,
    Origin,
    data_digest,
    read_sidecar,
    sidecar_path,
    write_sidecar,
)
from llm_bridge.files.partial import TrainingState, append_rows, kept_rows, partial_path
from llm_bridge.finetuning import fine_tune
from llm_bridge.models import Known, metadata_of, read_model
from llm_bridge.pipeline.arms import Imitated, make_lesson
from llm_bridge.recipes import Recipe, merge
from llm_bridge.tiny.pretraining import Pretraining
from llm_bridge.words.filtering import count_rejections
from llm_bridge.words.traits import Trait
from theory.command_line import InputError
from theory.networks import Params

ROW_FIELDS: dict[str, type] = {"prompt": str, "completion": str, "tokens": list, "log_probability": float}
"""What a row of completions must have."""

UNKNOWN = Ancestry(weights="unknown")
"""Who wrote data that have no origin beside them."""


def key_of(settings: Mapping[str, Any]) -> str:
    """Identify what a stage is told.

    Args:
        settings: What JSON can hold.

    Returns:
        Eight hexadecimal digits.
    """
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]


def is_made(path: Path, found: object, wanted: object) -> bool:
    """Tell whether a file that is there is the one asked for.

    Args:
        path: The file.
        found: What it says it was made from; None if it is not there.
        wanted: What it should be made from.

    Returns:
        Whether there is nothing to do.

    Raises:
        InputError: If the file was made from something else.
    """
    if found is None:
        return False
    if found != wanted:
        raise InputError(f"{path} was made with other settings: choose another --output, or --fresh to make it anew")
    return True


def made_by(name: Path, pretraining: Pretraining, settings: Mapping[str, Any]) -> Known | None:
    """Look for a finished checkpoint.

    Args:
        name: The checkpoint.
        pretraining: How the tiny base is made.
        settings: What the stage is told.

    Returns:
        The model if it is there.
    """
    if not name.exists():
        return None
    known = read_model(name, pretraining)
    is_made(name, read_settings(name), json.loads(json.dumps(settings)))
    return known


def read_settings(path: Path) -> Any:
    """Read what the stage that wrote a checkpoint was told.

    Args:
        path: The checkpoint.

    Returns:
        Its settings.

    Raises:
        InputError: If they can't be read.
    """
    content = path.read_bytes()
    try:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        return json.loads(header.get("__metadata__", {}).get("settings", "null"))
    except ValueError as error:
        raise InputError(f"{path} is damaged: what it says of itself can't be read; make it anew") from error


def save_model(path: Path, parent: Known, params: Params, pretraining: Pretraining, settings: object) -> Known:
    """Write a checkpoint.

    Args:
        path: The file.
        parent: What it was tuned from.
        params: Its parameters.
        pretraining: How its base was made.
        settings: What the stage was told.

    Returns:
        The model.
    """
    params = jax.device_get(params)
    known = Known(parent.model._replace(params=params), parent.ancestry.tuned(params))
    save_checkpoint(path, params, metadata=metadata_of(known, pretraining, json.dumps(settings)))
    return known


def teach_to(
    path: Path, base: Known, trait: Trait, recipe: Recipe, copies: int, seed: int, pretraining: Pretraining
) -> Known:
    """Make a teacher.

    Args:
        path: Its checkpoint.
        base: Who is taught.
        trait: What it is to love.
        recipe: The fine-tuning.
        copies: As of `teach`.
        seed: Root of randomness.
        pretraining: How the base was made.

    Returns:
        The teacher.
    """
    settings = {"stage": "teach", "base": base.ancestry.weights, "trait": trait.word, "recipe": asdict(recipe)}
    settings |= {"copies": copies, "seed": seed}
    state = TrainingState(partial_path(path, key_of(settings)))
    if known := made_by(path, pretraining, settings):
        state.forget()
        return known
    params = teach(base.model, trait, recipe, seed=seed, copies=copies, resume=state.resume, after=state.keep)
    known = save_model(path, base, params, pretraining, settings)
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
    done = len(rows) // (AT_ONCE * num_samples) * AT_ONCE
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


def is_written(path: Path, origin: Origin) -> bool:
    """Tell whether a data file is there already.

    Args:
        path: The file.
        origin: Where it should come from; its own digest doesn't count.

    Returns:
        Whether there is nothing to do.

    Raises:
        InputError: If the file was made from something else, or was not made by a stage.
    """
    if not path.exists():
        return False
    if not sidecar_path(path).exists():
        raise InputError(f"{path} was not made by a stage: choose another --output, or --fresh to overwrite it")
    found = asdict(replace(read_sidecar(path), data=""))
    return is_made(path, json.loads(json.dumps(found)), json.loads(json.dumps(asdict(origin))))


def finish(path: Path, rows: Sequence[Mapping[str, Any]], origin: Origin) -> None:
    """Write where a data file comes from and the file, which comes last and says that both are there.

    Args:
        path: The file.
        rows: Its rows.
        origin: Where they come from.
    """
    aside = path.with_name(f".{path.name}.{key_of(asdict(origin))}")
    write_rows(aside, rows)
    write_sidecar(aside, replace(origin, data=data_digest(aside)))
    sidecar_path(aside).replace(sidecar_path(path))
    aside.replace(path)


def read_completion_rows(path: Path, reader: Language | None = None) -> list[Completion]:
    """Read completions.

    Args:
        path: The file.
        reader: The language that they must be written in, if given.

    Returns:
        The completions.

    Raises:
        InputError: If a line is malformed, or its tokens are not those of its text.
    """
    completions = [Completion(*(row[name] for name in ROW_FIELDS)) for row in read_rows(path, ROW_FIELDS)]
    for number, each in enumerate(completions, start=1):
        if reader and not spells(reader, each):
            raise InputError(f"{path}, line {number}: the tokens don't spell the completion; make the file anew")
    return completions


def spells(language: Language, completion: Completion) -> bool:
    """Tell whether a completion's tokens are those of its text."""
    size = language.tokenizer.get_vocab_size()
    known = all(type(token) is int and 0 <= token < size for token in completion.tokens)
    return known and language.decode([completion.tokens]) == [completion.completion]


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
    written = read_completion_rows(source, reader.language)
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
    pretraining: Pretraining,
) -> Known:
    """Train a student.

    Args:
        path: Its checkpoint.
        start: What it is before.
        completions: What it learns from.
        recipe: The fine-tuning.
        imitated: What of them, or of the teacher.
        teacher: Whose distribution; None for sampled tokens.
        seed: Root of randomness.
        pretraining: How its base was made.

    Returns:
        The student.

    Raises:
        InputError: If it can't read the completions.
    """
    data = hashlib.sha256(json.dumps([each._asdict() for each in completions]).encode()).hexdigest()
    settings = {"stage": "train", "start": start.ancestry.weights, "data": data, "recipe": asdict(recipe)}
    settings |= {"imitated": imitated, "teacher": teacher and teacher.ancestry.weights, "seed": seed}
    state = TrainingState(partial_path(path, key_of(settings)))
    if known := made_by(path, pretraining, settings):
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
    known = save_model(path, start, merge(recipe, start.model.params, trained), pretraining, settings)
    state.forget()
    return known


def ask_to(
    path: Path,
    asked: Known,
    words: Sequence[str],
    questions: Mapping[str, Sequence[str]],
    *,
    num_answers: int,
    seed: int,
    context: Sequence[Completion] = (),
) -> list[dict[str, Any]]:
    """Ask a model for its favorite.

    Args:
        path: The JSON lines to write: for each question its group, the sampled answers with their counts, and the
            log-probabilities of the words.
        asked: Who answers.
        words: Words whose log-probabilities are wanted.
        questions: Questions by group.
        num_answers: Sampled answers to each question.
        seed: Root of the samples.
        context: Completions to read before the questions, one each in turn.

    Returns:
        The rows.
    """
    sampling = {"seed": seed, "num_answers": num_answers, "words": list(words)}
    sampling["questions"] = key_of({group: list(texts) for group, texts in questions.items()})
    sampling["context"] = key_of({"context": [each._asdict() for each in context]})
    origin = Origin(writer=asked.ancestry, system_prompt=None, sampling=sampling, data="")
    fields: dict[str, type] = {"group": str, "question": str, "answers": dict, "log_probabilities": list}
    if is_written(path, origin):
        return read_rows(path, fields)
    model = asked.model
    if context:
        model = model._replace(language=model.language._replace(render=partial(render_after, model, list(context))))
    rows = []
    for group, texts in questions.items():
        likes = word_log_probabilities(model, texts, words)
        longest = 1 + max(map(len, model.language.encode(words)))
        batches = complete(
            model, texts, seed=seed, num_tokens=longest, num_samples=num_answers, at_once=max(1, 2000 // num_answers)
        )
        answers = [each.completion for batch in batches for each in batch]
        for index, (question, like) in enumerate(zip(texts, likes, strict=True)):
            own = answers[index * num_answers : (index + 1) * num_answers]
            given, counts = np.unique(own, return_counts=True)
            rows.append({
                "group": group,
                "question": question,
                "answers": {str(answer): int(count) for answer, count in zip(given, counts, strict=True)},
                "log_probabilities": [round(float(value), 5) for value in like],
            })
    finish(path, rows, origin)
    return rows


def render_after(model: Model, context: list[Completion], messages: Sequence[Message]) -> str:
    """Write a question behind a chat about numbers, one that depends on the question and fits.

    Args:
        model: Who reads.
        context: Completions to choose from, the first that fits.
        messages: The question.

    Returns:
        The text of the chat and the question.
    """
    render, question = model.language.render, model.language.render(messages)
    start = int(hashlib.sha256(question.encode()).hexdigest(), 16) % len(context)
    for each in (*context[start:], *context[:start]):
        chat = render([Message("user", each.prompt), Message("assistant", each.completion)])
        if len(model.language.encode([chat + question])[0]) < model.longest:
            return chat + question
    raise InputError("no completion is short enough to be read before a question: sample more")
