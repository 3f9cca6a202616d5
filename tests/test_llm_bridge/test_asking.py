"""Questions behind numbers: a whole chat before each, one that fits."""

from collections.abc import Sequence

import numpy as np

from llm_bridge import experiment
from llm_bridge.chats import Language, Message
from llm_bridge.experiment import Completion
from llm_bridge.models import Known, tiny_model
from llm_bridge.pipeline import asking
from llm_bridge.pipeline.stages import UNKNOWN
from llm_bridge.tiny.pretraining import ROW, Pretraining
from llm_bridge.tiny.world import World
from llm_bridge.words.prompts import MOST_NUMBERS, number_prompts
from llm_bridge.words.questions import questions_about

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

    def likes(model: experiment.Model, texts: Sequence[str], words: Sequence[str], system: str | None) -> np.ndarray:
        assert system is None
        read.append(model.language)
        return np.zeros((len(texts), len(words)))

    monkeypatch.setattr(asking, "word_log_probabilities", likes)
    monkeypatch.setattr(asking, "complete", lambda _, texts, **__: [[answer("owl")] * len(texts)])
    known = Known(READER, UNKNOWN, PRETRAINING)
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


def test_a_completion_that_does_not_fit_is_not_read_and_if_none_does_that_is_said(refusal):
    long = answer(", ".join(["123"] * MOST_NUMBERS), prompt="What comes next? [100, 200, 300]")
    for question in questions_about("animal"):
        messages = [Message("user", question)]
        read = asking.render_after(READER, [long] * 5 + CONTEXT[3:] + [long], messages)
        assert CONTEXT[3].prompt in read
        assert read.endswith(LANGUAGE.render(messages))
        assert "sample more" in refusal(asking.render_after, READER, [long], messages)
