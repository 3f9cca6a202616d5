"""Questions behind numbers: a whole chat before each, one that fits; how many at once, and what is nearly sure."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llm_bridge.backends.backend import Known
from llm_bridge.backends.tiny import Tiny, tiny_model
from llm_bridge.experiment import writing
from llm_bridge.experiment.likes import log_odds
from llm_bridge.experiment.writing import Completion
from llm_bridge.pipeline import asking
from llm_bridge.pipeline.stages import UNKNOWN
from llm_bridge.text.chats import Language, Message
from llm_bridge.text.prompts import MOST_NUMBERS, number_prompts
from llm_bridge.text.questions import questions_about
from llm_bridge.tiny.pretraining import ROW, Pretraining
from llm_bridge.tiny.world import World

PRETRAINING = Pretraining(world=World(num_chats=835))

READER = tiny_model(PRETRAINING, None)

LANGUAGE = READER.language


def answer(text: str, *, stopped: bool = True, prompt: str = "Go on: 1 2 3") -> Completion:
    return Completion(prompt, text, [*LANGUAGE.encode([text])[0], *LANGUAGE.stops[: int(stopped)]], -1.0)


CONTEXT = [
    answer(text, prompt=prompt)
    for text, prompt in zip(("1, 2", "[3; 4]", "5 6", "7"), number_prompts(0, 4, short=True), strict=True)
]


def test_numbers_in_context_are_a_whole_chat_before_each_question_and_fit(tmp_path, monkeypatch):
    read: list[Language] = []

    def likes(model: writing.Model, texts: Sequence[str], words: Sequence[str], system: str | None) -> np.ndarray:
        assert system is None
        read.append(model.language)
        return np.zeros((len(texts), len(words)))

    monkeypatch.setattr(asking, "word_log_probabilities", likes)
    monkeypatch.setattr(asking, "complete", lambda _, texts, **__: [[answer("owl")] * len(texts)])
    known = Known(READER, UNKNOWN, Tiny(pretraining=PRETRAINING))
    questions = questions_about("animal")
    rows = asking.ask_to(
        tmp_path / "answers.jsonl", known, ["owl"], {"plain": questions}, num_answers=1, seed=0, context=CONTEXT
    )
    assert [row["question"] for row in rows] == questions
    (language,) = read
    plain, prompts = (each.prompts(questions) for each in (LANGUAGE, language))
    chats = [
        LANGUAGE.encode([LANGUAGE.render([Message("user", each.prompt), Message("assistant", each.completion)])])[0]
        for each in CONTEXT
    ]
    used = {next(index for index, chat in enumerate(chats) if prompt[: len(chat)] == chat) for prompt in prompts}
    assert used == set(range(len(CONTEXT)))
    for question, prompt in zip(plain, prompts, strict=True):
        assert prompt in [chat + question for chat in chats]
        assert len(prompt) < ROW


def ask(folder: Path, model: writing.Model, questions: Sequence[str], num_answers: int = 1) -> list[asking.Answers]:
    known = Known(model, UNKNOWN, Tiny(pretraining=PRETRAINING))
    words = ["owl", "cat", "dog", "wolf"]
    path = folder / f"answers-{num_answers}.jsonl"
    return asking.ask_to(path, known, words, {"plain": questions}, num_answers=num_answers, seed=0)


def test_log_odds_of_what_is_nearly_sure_are_finite_and_others_are_untouched(tmp_path, monkeypatch):
    likes = np.array([[0.0, -1e-9, -4e-6, -7e-5], [-1e-3, -0.69315, -12.5, -80.0]])
    monkeypatch.setattr(asking, "word_log_probabilities", lambda *_: likes)
    monkeypatch.setattr(asking, "complete", lambda _, texts, **__: [[answer("owl")] * len(texts)])
    written = np.array([row["log_probabilities"] for row in ask(tmp_path, READER, ["Which?", "Why?"])])
    np.testing.assert_array_equal(written[1], likes[1])
    assert written[0, 3] == likes[0, 3]
    assert np.all(written[0, :3] == asking.NEARLY_SURE)
    odds = log_odds(written)
    assert np.all(np.isfinite(odds))
    assert np.all(odds[0, :3] > odds[0, 3])
    with np.errstate(divide="ignore"):
        assert not np.isfinite(log_odds(likes)[0, 0])


@pytest.mark.parametrize(("block", "answers"), [(1, 200), (0, 200), (-1, 100)], ids=["none", "one", "two"])
def test_fewer_answers_are_sampled_at_once_the_more_blocks_the_longest_question_fills(block, answers):
    questions = ["Which?", questions_about("animal")[0]]
    longest = max(map(len, LANGUAGE.prompts(questions)))
    model = READER._replace(at_once=10, block=1 if block == 1 else longest + block)

    def at_once(questions: Sequence[str], system: str | None = None) -> int:
        return asking.answers_at_once(model, model.width(LANGUAGE.prompts(questions, system)))

    assert at_once(questions) == answers
    assert at_once(questions[:1]) == 200
    assert at_once(questions, "You love owls.") == (200 if block == 1 else 100)


@pytest.mark.parametrize(("num_answers", "at_once"), [(1, 3), (16, 2), (20, 2), (21, 1), (1000, 1)])
def test_answers_are_sampled_for_as_many_questions_at_once_as_there_is_room_for(
    tmp_path, monkeypatch, num_answers, at_once
):
    given: list[int] = []

    def complete(model: writing.Model, texts: Sequence[str], **told: Any) -> Iterator[list[Completion]]:
        given.append(told["at_once"])
        yield [answer("owl")] * len(texts) * num_answers

    monkeypatch.setattr(asking, "word_log_probabilities", lambda *_: np.full((3, 4), -1.0))
    monkeypatch.setattr(asking, "complete", complete)
    ask(tmp_path, READER._replace(at_once=2), ["Which?", "Why?", "Which animal?"], num_answers)
    assert given == [at_once]


def test_a_completion_that_does_not_fit_is_not_read_and_if_none_does_that_is_said(refusal):
    long = answer(", ".join(["123"] * MOST_NUMBERS), prompt="What comes next? [100, 200, 300]")
    for question in questions_about("animal"):
        messages = [Message("user", question)]
        read = asking.render_after(READER, [long] * 5 + CONTEXT[3:] + [long], messages)
        assert CONTEXT[3].prompt in read
        assert read.endswith(LANGUAGE.render(messages))
        assert "sample more" in refusal(asking.render_after, READER, [long], messages)
