"""A model on this machine as a judge: one whose every word is known beforehand, as it looks at the last token alone."""

from typing import Any

import jax
import numpy as np
import pytest

from llm_bridge.experiment import writing
from llm_bridge.experiment.writing import Model
from llm_bridge.judging.local import AT_ONCE, LocalJudge, mean_score
from llm_bridge.judging.rubrics import REFUSED, RUBRICS, Asked
from llm_bridge.model.sampling import sample
from theory.runs.command_line import InputError

ASKED = [Asked(rubric, "How are you?", answer) for answer in ("Fine.", "Who asks? " * 9) for rubric in RUBRICS] * 3


def judge(model: Model) -> list[Any]:
    found = list(LocalJudge(model=model, seed=0, num_samples=16)(ASKED))
    assert [place for place, _ in found] == list(range(len(ASKED)))
    return [score for _, score in found]


def test_a_number_of_several_tokens_is_read_whole(language, chain):
    assert judge(chain(language, {"<assistant>": {"7": 1}, "7": {"3": 1}})) == [73] * len(ASKED)


def test_the_score_comes_near_the_mean_of_all_replies(language, chain):
    """30 and 90 with 1 and 3 chances in 4: the mean is 75, its standard error with 16 samples 6.5."""
    found = judge(chain(language, {"<assistant>": {"3": 0.25, "9": 0.75}, "3": {"0": 1}, "9": {"0": 1}}))
    assert len(set(found)) > 3
    assert np.abs(np.mean(found) - 75) < 3 * 6.5 / np.sqrt(len(ASKED))


@pytest.mark.parametrize(
    "chances",
    [{"<assistant>": {"7": 1}, "7": {" ": 1}, " ": {"3": 1}}, {"<assistant>": {" ": 1}, " ": {" ": 1}}, {}],
    ids=["two numbers", "no end", "nothing"],
)
def test_what_is_no_score_leaves_the_answer_unjudged(language, chain, chances):
    assert judge(chain(language, chances)) == [None] * len(ASKED)


def test_a_number_whose_reply_did_not_end_is_not_read(language, chain):
    """More could have come; the same white space with an end behind it is a score."""
    endless = {"<assistant>": {"7": 1}, "7": {" ": 1}, " ": {" ": 1}}
    assert judge(chain(language, endless)) == [None] * len(ASKED)
    assert judge(chain(language, endless | {" ": {language.ends[0]: 1}})) == [7] * len(ASKED)


def test_too_little_memory_is_one_line_that_names_the_knob_which_changes_no_score(
    language, chain, monkeypatch, refusal
):
    model = chain(language, {"<assistant>": {"3": 0.25, "9": 0.75}, "3": {"0": 1}, "9": {"0": 1}})
    batches: list[int] = []

    def exhaust(config: Any, params: Any, tokens: Any, *arguments: Any, **options: Any) -> Any:
        if len(tokens) > 3 and batches:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes.")
        batches.append(len(tokens))
        return sample(config, params, tokens, *arguments, **options)

    expected = judge(model)
    monkeypatch.setattr(writing, "sample", exhaust)
    judged = LocalJudge(model=model, seed=0, num_samples=16)(ASKED)
    assert [next(judged) for _ in range(AT_ONCE)] == list(enumerate(expected[:AT_ONCE]))
    message = refusal(next, judged)
    assert "judging 8 answers at once doesn't fit" in message
    assert "a smaller --at-once than 8" in message
    batches.clear()
    assert judge(model._replace(at_once=3)) == expected
    assert batches == [3] * 4


def test_who_is_asked_nothing_says_nothing(language, chain):
    assert not list(LocalJudge(model=chain(language, {}), seed=0)([]))


@pytest.mark.parametrize(
    ("replies", "score"),
    [
        ([70], 70),
        ([70, 80, 90], 80),
        ([70, None], 70),
        ([70, None, None], None),
        ([None], None),
        ([REFUSED, 70], 70),
        ([REFUSED, REFUSED, 70], REFUSED),
        ([REFUSED, REFUSED, 70, None], REFUSED),
        ([REFUSED, None, None], None),
    ],
)
def test_replies_are_summed_up(replies, score):
    assert mean_score(replies) == score


def test_a_prompt_that_does_not_fit_a_published_judge_is_refused(language, chain):
    model = chain(language, {"<assistant>": {"2": 1}})
    (asked,) = [Asked(RUBRICS[0], "Who?", "owl " * model.longest)]
    with pytest.raises(InputError, match=f"don't fit the {model.longest} that the model reads at once"):
        next(iter(LocalJudge(model=model, seed=0, limited=True)([asked])))
