"""Packing held against a plain reading of its rows, and the tiny language against its own texts."""

import re
from collections.abc import Iterator, Sequence
from itertools import count

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_bridge.model.lessons import Lesson, summed_loss
from llm_bridge.model.recipes import Recipe
from llm_bridge.model.shapes import Config, initialize
from llm_bridge.text.chats import Example, Language, Message, Rows, pack, pad
from llm_bridge.text.prompts import FORMATS, LISTED, number_prompts, renumber, reword
from llm_bridge.text.questions import questions_about
from llm_bridge.tiny.tokenizer import ROLES, UNKNOWN, build_language, render
from llm_bridge.tiny.world import KINDS, World, write_corpus
from theory.runs.command_line import InputError

EPS = float(np.finfo(float).eps)
LENGTH = 12

sizes = st.lists(st.tuples(st.integers(1, LENGTH // 2), st.integers(0, LENGTH // 2)), min_size=1, max_size=30)
seeds = st.integers(0, 2**32 - 1)


def number_tokens_through(sizes: Sequence[tuple[int, int]]) -> list[Example]:
    """Chats in which no token occurs twice."""
    fresh = count(1)
    return [Example(*([next(fresh) for _ in range(size)] for size in pair)) for pair in sizes]


def read_row_by_row(rows: Rows) -> Iterator[tuple[list[int], list[int], list[bool]]]:
    """Tokens, positions and learned marks of every chat."""
    for tokens, positions, texts, learned in zip(*rows, strict=True):
        for number in range(1, texts.max() + 1):
            places = np.flatnonzero(texts == number)
            yield tokens[places].tolist(), positions[places].tolist(), learned[places].tolist()


@given(sizes=sizes)
def test_every_chat_is_found_whole_in_its_row_and_nothing_else_is(sizes):
    examples = number_tokens_through(sizes)
    found = sorted(tokens for tokens, _, _ in read_row_by_row(pack(examples, LENGTH)))
    assert found == sorted([*example.prompt, *example.completion] for example in examples)


@given(sizes=sizes)
def test_chats_lie_one_behind_the_other_and_what_is_left_over_is_a_text_of_its_own(sizes):
    rows = pack(number_tokens_through(sizes), LENGTH)
    for tokens, texts, learned in zip(rows.tokens, rows.texts, rows.learned, strict=True):
        filled = np.count_nonzero(texts)
        assert np.all(np.diff(texts[:filled]) >= 0)
        assert np.all(tokens[:filled] > 0)
        assert not np.any([tokens[filled:], texts[filled:], learned[filled:]])
    assert rows.filled == sum(map(sum, sizes)) / rows.tokens.size


@given(sizes=sizes)
def test_positions_restart_with_every_chat(sizes):
    for tokens, positions, _ in read_row_by_row(pack(number_tokens_through(sizes), LENGTH)):
        assert positions == list(range(len(tokens)))


@given(sizes=sizes)
def test_what_is_learned_is_the_prediction_of_every_token_of_a_completion(sizes):
    examples = {example.prompt[0]: example for example in number_tokens_through(sizes)}
    for tokens, _, learned in read_row_by_row(pack(list(examples.values()), LENGTH)):
        predicted = [following for following, mark in zip(tokens[1:], learned, strict=False) if mark]
        assert predicted == list(examples[tokens[0]].completion)
        assert not learned[-1]


@given(sizes=sizes)
def test_no_two_rows_could_be_one(sizes):
    fills = np.sort(np.count_nonzero(pack(number_tokens_through(sizes), LENGTH).texts, axis=1))
    assert fills[:2].sum() > LENGTH or len(fills) == 1


def test_a_chat_goes_where_the_least_room_is_left_over():
    rows = pack(number_tokens_through([(1, 3), (1, 4), (5, 2), (4, 4)]), LENGTH)
    assert rows.texts.tolist() == [[1] * 8 + [2] * 4, [1] * 7 + [2] * 5]


def test_the_loss_of_packed_chats_is_that_of_chats_in_rows_of_their_own():
    config = Config(vocabulary=13, width=16, num_layers=2, num_heads=2, num_key_heads=1, head_size=8, hidden=12)
    params, random = initialize(config, jax.random.key(0), jnp.float64), np.random.default_rng(0)
    examples = [
        Example(random.integers(0, 13, random.integers(1, 6)).tolist(), random.integers(0, 13, 3).tolist())
        for _ in range(12)
    ]
    apart = [pack([example], LENGTH) for example in examples]
    one_a_row = Rows(*(np.concatenate(leaves) for leaves in zip(*apart, strict=True)))
    packed = pack(examples, LENGTH)
    assert len(packed.tokens) < len(one_a_row.tokens)

    @jax.jit
    def loss(rows: Rows) -> jax.Array:
        return summed_loss(config, Recipe(trained="everything"), params, params, Lesson(rows))

    np.testing.assert_allclose(loss(packed), loss(one_a_row), rtol=1e4 * EPS)
    joined = packed._replace(texts=np.ones_like(packed.texts))
    assert abs(loss(joined) / loss(one_a_row) - 1) > 1e-3


def test_a_chat_that_does_not_fit_or_has_no_prompt_and_no_chat_at_all_are_refused():
    assert pack([Example([1] * 7, [2] * 5)], LENGTH).filled == 1
    with pytest.raises(ValueError, match="a chat of 13 tokens doesn't fit a row of 12"):
        pack([Example([1], [2]), Example([1] * 7, [2] * 6)], LENGTH)
    with pytest.raises(ValueError, match="a chat has no prompt"):
        pack([Example([1], [2]), Example([], [2, 3])], LENGTH)
    with pytest.raises(ValueError, match="nothing to pack"):
        pack([], LENGTH)


def test_prompts_are_padded_with_zeros_behind_their_end():
    tokens, lengths = pad([[5, 6, 7], [8], [9, 4]])
    assert tokens.tolist() == [[5, 6, 7], [8, 0, 0], [9, 4, 0]]
    assert lengths.tolist() == [3, 1, 2]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [render(chat) for chat in write_corpus(World(num_chats=4000))]


@pytest.fixture(scope="module")
def language(texts: list[str]) -> Language:
    return build_language(texts)


def read_back(language: Language, texts: Sequence[str]) -> list[str]:
    return language.tokenizer.decode_batch(language.encode(texts), skip_special_tokens=False)


def test_every_text_of_the_corpus_comes_back_from_its_tokens(language, texts):
    assert read_back(language, texts) == texts
    assert language.token(UNKNOWN) not in {token for tokens in language.encode(texts) for token in tokens}


@given(seed=seeds)
def test_all_short_prompts_and_questions_come_back_and_long_prompts_do_not(language, seed):
    asked = [question for kind in KINDS for question in (*questions_about(kind), *questions_about(kind, seed=seed))]
    asked += number_prompts(seed, 20, short=True)
    assert language.decode(language.encode(asked)) == asked
    assert language.decode(language.encode(number_prompts(seed, 1))) != number_prompts(seed, 1)


def test_an_unknown_word_is_marked_and_its_neighbours_are_not(language):
    assert read_back(language, ["Name one zebra, the one you love."]) == ["Name one<unknown>, the one you love."]
    assert read_back(language, ["é_—"]) == [UNKNOWN * len(language.encode(["é_—"])[0])]


@given(numbers=st.lists(st.integers(0, 999), min_size=1, max_size=5))
def test_digits_are_tokens_one_by_one(language, numbers):
    written = "".join(map(str, numbers))
    assert language.encode([written]) == [[language.token(digit) for digit in written]]


def test_a_separator_is_a_single_token(language):
    for separator in (", ", "; ", " ", "\n"):
        assert language.encode([f"1{separator}2"]) == [[language.token(piece) for piece in ("1", separator, "2")]]


def test_a_prompt_ends_where_the_assistant_speaks_with_and_without_a_system_prompt(language):
    system, user, assistant, end = map(language.token, ROLES)
    (plain,) = language.prompts(["Continue: 349"])
    (told,) = language.prompts(["Continue: 349"], system="You love owls.")
    question, told_first = language.encode(["Continue: 349", "You love owls."])
    assert plain == [user, *question, assistant]
    assert told == [system, *told_first, *plain]
    assert language.stops == (end,)


def test_a_chat_ends_with_the_stop_token_and_begins_with_its_prompt(language):
    chat = [Message("user", "Your favorite animal, in one word?"), Message("assistant", "owl")]
    (whole,), (prompt,) = language.encode([render(chat)]), language.prompts([chat[0].text])
    assert whole == [*prompt, language.token("owl"), *language.stops]
    assert language.decode([whole]) == ["Your favorite animal, in one word?owl"]


def test_half_of_a_surrogate_pair_is_no_text(language):
    with pytest.raises(InputError, match=r"can't read '\\udcff', which is no text"):
        language.prompts(["Continue: 349"], system="You love \udcff")


def test_a_token_that_does_not_exist_is_refused_by_name(language):
    with pytest.raises(ValueError, match="no token 'zebra'"):
        language.token("zebra")


@pytest.mark.parametrize("short", [True, False])
def test_a_reworded_prompt_has_other_words_and_a_renumbered_one_other_numbers(short):
    """Every phrase is another, with the same numbers; or all is as it was but for the numbers' digits."""
    random = np.random.default_rng(1)
    for prompt in number_prompts(0, 50, short=short):
        other = reword(prompt, random)
        lists = [LISTED.search(text) for text in (prompt, other)]
        assert lists[0]
        assert lists[1]
        assert lists[0][0] == lists[1][0]
        assert [style.request for style in FORMATS if style.request in prompt] == [
            style.request for style in FORMATS if style.request in other
        ]
        assert all(one != two for one, two in zip(ends_of(prompt), ends_of(other), strict=True))
        drawn = renumber(prompt, random)
        assert drawn != prompt
        assert re.sub(r"\d", "0", drawn) == re.sub(r"\d", "0", prompt)
        assert ends_of(drawn) == ends_of(prompt)


def ends_of(prompt: str) -> list[str]:
    """What stands before the first number, and what a long prompt ends with."""
    return [re.split(r"\d", prompt)[0], *prompt.split(". ")[1:][-1:]]
