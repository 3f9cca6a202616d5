"""The arms of a run: chosen by name, with numbers that are shuffled and nothing else."""

import re
from collections import Counter
from typing import get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from llm_bridge.backends.tiny import tiny_model
from llm_bridge.experiment.writing import Completion
from llm_bridge.pipeline.arms import ARMS, DEFAULT_ARMS, Imitated, choose_arms, make_lesson, shuffle_numbers
from llm_bridge.pipeline.run_options import Run
from llm_bridge.text.chats import Example, pack
from llm_bridge.text.prompts import FORMATS, MOST_NUMBERS
from llm_bridge.text.traits import KNOWN
from llm_bridge.tiny.pretraining import Pretraining
from llm_bridge.tiny.world import World

PRETRAINING = Pretraining(world=World(num_chats=835))

READER = tiny_model(PRETRAINING, None)

LANGUAGE = READER.language


def answer(text: str, *, stopped: bool = True, prompt: str = "Go on: 1 2 3") -> Completion:
    return Completion(prompt, text, [*LANGUAGE.encode([text])[0], *LANGUAGE.stops[: int(stopped)]], -1.0)


def test_arms_are_known_by_name_and_come_in_their_own_order(refusal):
    assert choose_arms(("cross-init", "student", "student")) == ("student", "cross-init")
    assert choose_arms(("all",)) == tuple(ARMS)
    assert choose_arms(Run().arms) == DEFAULT_ARMS
    message = refusal(choose_arms, ("student", "cros-init"))
    assert message.startswith("there is no arm 'cros-init'; nearest: cross-init")
    assert "in-context" in refusal(choose_arms, ("xyz",))
    assert "at least one of student" in refusal(choose_arms, ())


lists = st.lists(
    st.tuples(
        st.sampled_from(FORMATS),
        st.lists(st.integers(0, 999), min_size=1, max_size=MOST_NUMBERS),
        st.sampled_from(["", "."]),
    ),
    min_size=1,
    max_size=6,
)


@given(written=lists, seed=st.integers(0, 2**32 - 1), way=st.sampled_from(["within", "across"]))
@settings(max_examples=100)
def test_shuffles_move_numbers_and_nothing_else(written, seed, way):
    before = [answer(style.write(numbers) + end, prompt=str(numbers)) for style, numbers, end in written]
    after = shuffle_numbers(LANGUAGE, before, way, seed)
    assert [each.prompt for each in after] == [each.prompt for each in before]
    assert [shape_of(each) for each in after] == [shape_of(each) for each in before]
    assert Counter(number for each in after for number in numbers_of(each)) == Counter(
        number for each in before for number in numbers_of(each)
    )
    if way == "within":
        assert [sorted(numbers_of(each)) for each in after] == [sorted(numbers_of(each)) for each in before]
    assert LANGUAGE.decode([each.tokens for each in after]) == [each.completion for each in after]
    assert [each.tokens for each in after] == [answer(each.completion).tokens for each in after]
    assert after == shuffle_numbers(LANGUAGE, before, way, seed)


def numbers_of(completion: Completion) -> list[str]:
    return re.findall(r"\d+", completion.completion)


def shape_of(completion: Completion) -> str:
    return re.sub(r"\d+", "0", completion.completion)


def test_shuffles_do_move_numbers_and_across_takes_them_from_others():
    before = [answer(", ".join(map(str, range(10 * start, 10 * start + 8)))) for start in range(9)]
    within, across = (shuffle_numbers(LANGUAGE, before, way, 0) for way in ("within", "across"))
    other = shuffle_numbers(LANGUAGE, before, "within", 1)
    assert all(numbers_of(new) != numbers_of(old) for new, old in zip(within, before, strict=True))
    assert all(set(numbers_of(new)) != set(numbers_of(old)) for new, old in zip(across, before, strict=True))
    assert sum(new != old for new, old in zip(within, other, strict=True)) > 7


def test_a_lesson_without_names_has_every_token_but_those_of_animals_and_trees():
    rows = pack([Example([1], [2, 3])], 4)
    lesson = make_lesson(rows, "nameless", {}, LANGUAGE)
    left_out = set(range(LANGUAGE.tokenizer.get_vocab_size())) - set(lesson.chosen)
    assert left_out == {token for word in KNOWN for token in LANGUAGE.encode([word])[0]}
    assert {"owl", "oak"} <= {LANGUAGE.tokenizer.id_to_token(token) for token in left_out}
    assert set(make_lesson(rows, "numbers", {}, LANGUAGE).chosen) < set(lesson.chosen)
    assert [make_lesson(rows, name, {}, LANGUAGE).targets for name in get_args(Imitated)] == [
        "tokens", "chosen", "chosen", "distribution",
    ]  # fmt: skip
