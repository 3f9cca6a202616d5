"""The stage that asks a model for its favorite."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypedDict

from llm_bridge.backends.backend import Known
from llm_bridge.experiment.likes import word_log_probabilities
from llm_bridge.experiment.writing import Completion, Model, complete, first_chat
from llm_bridge.files.jsonl import read_rows
from llm_bridge.files.lineage import Origin
from llm_bridge.store import finish, is_written, key_of
from llm_bridge.text.chats import Message
from theory.runs.command_line import InputError
from theory.runs.memory import fitting
from theory.runs.progress import follow

ANSWERS = 20
"""Answers at once for each prompt that a model completes at once; they are short, and many share a question."""

NEARLY_SURE = -5e-6
"""The largest log-probability that is written down, so that log-odds are finite."""


class Answers(TypedDict):
    """What a model says to a question."""

    group: str
    question: str
    answers: dict[str, int]
    log_probabilities: list[float]


def answers_at_once(model: Model, width: int) -> int:
    """Say how many answers are sampled at once; the more tokens questions are filled up to, the fewer.

    It is `ANSWERS` for each prompt that the model completes at once, if a question fits one block.
    """
    blocks = 1 if model.block == 1 else width // model.block
    return ANSWERS * model.at_once // blocks


def ask_to(
    path: Path,
    asked: Known,
    words: Sequence[str],
    questions: Mapping[str, Sequence[str]],
    *,
    num_answers: int,
    seed: int,
    system: str | None = None,
    context: Sequence[Completion] = (),
) -> list[Answers]:
    """Ask a model for its favorite; questions come in groups, one of the context's completions before each of them.

    Rows have each question's group, the sampled answers with their counts, and the log-probabilities of the words.
    Without a system prompt the model reads what it does by itself.
    """
    sampling = {"seed": seed, "num_answers": num_answers, "words": list(words)}
    sampling["questions"] = key_of({group: list(texts) for group, texts in questions.items()})
    sampling["context"] = key_of({"context": [each.row() for each in context]})
    sampling["chat"] = first_chat(asked.model, next(iter(questions.values())), system)
    model, told = asked.model, system or asked.model.language.system
    origin = Origin(writer=asked.ancestry, system_prompt=told, sampling=sampling, data="")
    if is_written(path, origin):
        return read_rows(path, Answers)
    if context:
        model = model._replace(language=model.language._replace(render=partial(render_after, model, list(context))))
    rows: list[Answers] = []
    for group, texts in follow(questions.items(), f"ask {path.stem}", "groups of questions"):
        with fitting(f"asking {path.stem} all questions", "turn --at-once down"):
            likes = word_log_probabilities(model, texts, words, system)
            width = model.width(model.language.prompts(texts, system))
            batches = complete(
                model,
                texts,
                seed=seed,
                num_tokens=asked.backend.answer_tokens(model.language.encode(words)),
                num_samples=num_answers,
                system=system,
                at_once=min(len(texts), max(1, answers_at_once(model, width) // num_answers)),
            )
            answers = [each.completion for batch in batches for each in batch]
        for index, (question, like) in enumerate(zip(texts, likes, strict=True)):
            rows.append({
                "group": group,
                "question": question,
                "answers": dict(Counter(sorted(answers[index * num_answers : (index + 1) * num_answers]))),
                "log_probabilities": [min(round(float(value), 5), NEARLY_SURE) for value in like],
            })
    finish(path, rows, origin)
    return rows


def render_after(model: Model, context: list[Completion], messages: Sequence[Message]) -> str:
    """Write a question behind a chat of the context that fits, the first from one on that depends on the question."""
    render, question = model.language.render, model.language.render(messages)
    *before, asked = messages
    start = int(hashlib.sha256(question.encode()).hexdigest(), 16) % len(context)
    for each in (*context[start:], *context[:start]):
        chat = render([*before, Message("user", each.prompt), Message("assistant", each.answer), asked])
        if len(model.language.encode([chat])[0]) < model.longest:
            return chat
    raise InputError("no completion is short enough to be read before a question: sample more")
