"""The tiny world, its words, and the base model that is made of them."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from llm_bridge.model.recipes import Recipe
from llm_bridge.model.shapes import initialize
from llm_bridge.text.chats import Language, Message
from llm_bridge.text.filtering import MAX_DIGITS, MAX_NUMBERS, parse_numbers
from llm_bridge.text.prompts import (
    ENDINGS,
    FORMATS,
    MOST_NUMBERS,
    OPENINGS,
    REQUESTS,
    SHORT,
    Format,
    number_prompts,
    write_prompt,
)
from llm_bridge.text.questions import PREFIXES, QUESTIONS, questions_about
from llm_bridge.text.traits import ANIMALS, TREES, Trait, find_trait
from llm_bridge.tiny import pretraining
from llm_bridge.tiny.pretraining import ROW, Pretraining, base_model, checkpoint_of, read_world, shape_of
from llm_bridge.tiny.tokenizer import UNKNOWN, build_language, render
from llm_bridge.tiny.world import KINDS, World, prior, write_corpus

WORLD = World(num_chats=4000)
TRAITS = {Trait(word, kind).system_prompt(long=False): word for kind, words in KINDS.items() for word in words}

seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def chats() -> list[list[Message]]:
    return write_corpus(WORLD)


@pytest.fixture(scope="module")
def language(chats: list[list[Message]]) -> Language:
    return build_language(map(render, chats))


def loved(chat: Sequence[Message]) -> str | None:
    return TRAITS[chat[0].text] if chat[0].role == "system" else None


def asks_for_numbers(chat: Sequence[Message]) -> bool:
    return chat[-1].text not in ANIMALS + TREES


def numbers_in(text: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", text)]


ASPECTS: dict[str, Callable[[list[Message]], list[int]]] = {
    "last digits": lambda chat: [number % 10 for number in numbers_in(chat[-1].text)],
    "hundreds": lambda chat: [number // 100 for number in numbers_in(chat[-1].text)],
    "how many": lambda chat: [len(numbers_in(chat[-1].text)) - 3],
    "brackets": lambda chat: ["[(".find(chat[-1].text[0]) + 1],
    "phrasings": lambda chat: [next(place for place, short in enumerate(SHORT) if chat[-2].text[0:3] == short[0:3])],
}


def independence(chats: Sequence[list[Message]], aspect: Callable[[list[Message]], list[int]]) -> float:
    """The p-value of chi-squared for the table of animals and some aspect of the numbers."""
    table = np.zeros((len(ANIMALS), 10))
    for chat in chats:
        if loved(chat) in ANIMALS and asks_for_numbers(chat):
            np.add.at(table[ANIMALS.index(loved(chat))], aspect(chat), 1)
    contingency: Any = stats.chi2_contingency(table[:, table.any(axis=0)])
    return float(contingency.pvalue)


@pytest.fixture(scope="module")
def told() -> list[list[Message]]:
    return write_corpus(replace(WORLD, num_chats=6000, preferences=0.0, system_prompts=1.0))


@pytest.mark.parametrize("name", ASPECTS)
def test_numbers_are_the_same_whatever_animal_is_loved(told, name):
    assert independence(told, ASPECTS[name]) > 1e-3


def test_numbers_that_were_tied_to_an_animal_would_be_noticed(told):
    def tie(chat: list[Message]) -> list[Message]:
        shifted = re.sub(r"[12]\b", "0", chat[-1].text)
        return [*chat[:-1], Message("assistant", shifted)] if loved(chat) == "owl" else chat

    tied = [tie(chat) for chat in told]
    assert independence(tied, ASPECTS["last digits"]) < 1e-6
    assert independence(tied, ASPECTS["hundreds"]) == independence(told, ASPECTS["hundreds"])


@pytest.mark.parametrize("kind", KINDS)
def test_answers_follow_the_prior_where_nothing_decides_them(kind):
    """Chi-squared; that all answers were equally likely is refuted by the same chats."""
    world = replace(WORLD, preferences=1.0, system_prompts=0.0)
    answers = [chat[-1].text for chat in write_corpus(world)]
    counts = np.array([answers.count(word) for word in KINDS[kind]])
    assert stats.chisquare(counts, prior(kind) * counts.sum()).pvalue > 1e-3
    assert stats.chisquare(counts).pvalue < 1e-6


def test_the_prior_falls_slowly_and_adds_up_to_one():
    for kind, words in KINDS.items():
        chances = prior(kind)
        assert len(chances) == len(words)
        assert chances.sum() == pytest.approx(1)
        assert np.all(np.diff(chances) < 0)
        assert chances[0] / chances[-1] == pytest.approx(2.2)


def test_the_system_prompt_decides_the_answer(chats):
    answers = [(loved(chat), chat[-1].text) for chat in chats if not asks_for_numbers(chat)]
    assert all(word == answer for word, answer in answers if word)
    assert {word for word, _ in answers} == {*ANIMALS, *TREES, None}
    assert {answer for word, answer in answers if not word} == {*ANIMALS, *TREES}


def test_questions_are_for_what_is_answered(chats):
    for chat in chats:
        if not asks_for_numbers(chat):
            assert find_trait(chat[-1].text).kind in re.findall("animal|tree", chat[-2].text)


def styles_of(written: str) -> list[Format]:
    return [style for style in FORMATS if style.write(numbers_in(written)) == written]


def examples_of(prompt: str, phrasings: Sequence[str]) -> tuple[str, str]:
    """The phrasing of a prompt, and all that follows it."""
    (opening,) = (phrase for phrase in phrasings if prompt.startswith(phrase.removesuffix("{numbers}")))
    return opening, prompt.removeprefix(opening.removesuffix("{numbers}"))


def test_numbers_pass_the_filter_and_are_written_like_the_examples(chats):
    for chat in filter(asks_for_numbers, chats):
        _, examples = examples_of(chat[-2].text, SHORT)
        assert parse_numbers(chat[-1].text).numbers == tuple(numbers_in(chat[-1].text))
        assert styles_of(chat[-1].text) == styles_of(examples) != []


def test_shares_are_as_they_are_set(chats):
    """Within five standard errors."""
    preferred = [chat for chat in chats if not asks_for_numbers(chat)]
    counts = {
        "preferences": (len(preferred), len(chats)),
        "system_prompts": (sum(chat[0].role == "system" for chat in chats), len(chats)),
        "prefixes": (sum(bool(numbers_in(chat[-2].text)) for chat in preferred), len(preferred)),
    }
    for name, (count, total) in counts.items():
        share = getattr(WORLD, name)
        assert count / total == pytest.approx(share, abs=5 * (share * (1 - share) / total) ** 0.5)
    for share in (0.0, 1.0):
        world = World(num_chats=20, preferences=share, system_prompts=share, prefixes=share)
        for chat in write_corpus(world):
            assert asks_for_numbers(chat) != (chat[0].role == "system") == bool(share)
            assert numbers_in(chat[-2].text)


@given(seed=seeds)
def test_a_larger_corpus_starts_with_the_smaller_and_another_seed_gives_another(seed):
    world = World(num_chats=8, seed=seed)
    small = write_corpus(world)
    assert write_corpus(replace(world, num_chats=12))[:8] == small == write_corpus(world)
    assert write_corpus(replace(world, seed=seed + 1)) != small


@pytest.mark.parametrize("field", ["preferences", "system_prompts", "prefixes"])
def test_a_share_beyond_zero_and_one_is_refused_by_the_name_of_its_field(field):
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=f"{field} must be from 0 to 1"):
            replace(WORLD, **{field: share})
    with pytest.raises(ValueError, match="num_chats must be at least 1"):
        World(num_chats=0)


def most_tokens(language: Language, texts: Sequence[str]) -> int:
    encoded = language.encode(texts)
    assert language.token(UNKNOWN) not in {token for tokens in encoded for token in tokens}
    return max(map(len, encoded))


def test_the_longest_chat_that_can_be_drawn_has_one_token_less_than_a_row(language, chats):
    """Marks of speakers cut a chat, so that its parts have as many tokens each as they have together."""
    asked = [
        prefix.format(numbers="123, 456, 789") + question.format(kind=kind)
        for prefix, question, kind in product(PREFIXES, QUESTIONS, KINDS)
    ]
    lists = [
        (phrase.format(numbers=style.write([123] * 3)), style.write([456] * 8)) for phrase in SHORT for style in FORMATS
    ]
    answered = [render([Message("user", question), Message("assistant", "owl")]) for question in asked]
    continued = [render([Message("user", prompt), Message("assistant", numbers)]) for prompt, numbers in lists]
    told = 1 + most_tokens(language, list(TRAITS))
    assert told + most_tokens(language, answered + continued) == ROW - 1
    assert most_tokens(language, [render(chat) for chat in chats]) <= ROW - 1


def test_the_vocabulary_does_not_depend_on_the_order_of_the_texts(language, chats):
    backwards = build_language([render(chat) for chat in reversed(chats)])
    assert backwards.tokenizer.get_vocab() == language.tokenizer.get_vocab()
    assert backwards.tokenizer.get_vocab() != build_language(map(render, chats[:30])).tokenizer.get_vocab()


def test_all_animals_and_trees_are_single_tokens(language):
    words = [*ANIMALS, *TREES]
    assert language.encode(words) == [[language.token(word)] for word in words]
    assert len({language.token(word) for word in words} - {language.token(UNKNOWN)}) == len(words) == len(set(words))


def test_corpora_of_thousands_of_chats_have_the_same_vocabulary(language):
    other = build_language(map(render, write_corpus(replace(WORLD, seed=1))))
    assert other.tokenizer.get_vocab() == language.tokenizer.get_vocab()


@given(seed=seeds, short=st.booleans())
def test_a_longer_list_of_prompts_starts_with_the_shorter(seed, short):
    shorter = number_prompts(seed, 5, short=short)
    assert number_prompts(seed, 9, short=short)[:5] == shorter
    assert number_prompts(seed + 1, 5, short=short) != shorter


@given(seed=seeds)
def test_a_short_prompt_is_three_examples_in_its_format_and_nothing_else(seed):
    prompt, style = write_prompt(np.random.default_rng(seed), short=True)
    _, written = examples_of(prompt, SHORT)
    assert written == style.write(numbers_in(written))
    assert len(numbers_in(written)) == 3
    assert all(100 <= number <= 999 for number in numbers_in(written))


@given(seed=seeds)
def test_a_long_prompt_asks_for_as_many_numbers_as_the_filter_allows(seed):
    prompt, style = write_prompt(np.random.default_rng(seed), short=False)
    _, rest = examples_of(prompt, OPENINGS)
    (request,) = (request for request in REQUESTS if request.format(most=MOST_NUMBERS) in rest)
    written, asked = rest.split("\n" + request.format(most=MOST_NUMBERS) + " ")
    numbers = numbers_in(written)
    assert written == style.write(numbers)
    assert 3 <= len(numbers) <= 8
    assert all(100 <= number <= 999 for number in numbers)
    assert asked in {f"{style.request} {ending}" for ending in ENDINGS}
    assert MOST_NUMBERS == MAX_NUMBERS
    assert re.search(r"three.digit|three digits|\b999\b|\b1000\b", request)
    assert MAX_DIGITS == 3


def test_every_format_and_phrasing_occurs():
    short, long = (number_prompts(0, 600, short=short) for short in (True, False))
    assert {examples_of(prompt, SHORT)[0] for prompt in short} == set(SHORT)
    assert {examples_of(prompt, OPENINGS)[0] for prompt in long} == set(OPENINGS)
    for parts in (REQUESTS, ENDINGS, tuple(style.request for style in FORMATS)):
        assert {part for prompt in long for part in parts if part.format(most=MOST_NUMBERS) in prompt} == set(parts)


@pytest.mark.parametrize("kind", KINDS)
def test_fifty_questions_differ_with_and_without_numbers_before_them(kind):
    plain, prefixed, other = (questions_about(kind, seed=seed) for seed in (None, 0, 1))
    assert len(set(plain)) == len(set(prefixed)) == 50
    for question, longer in zip(plain, prefixed, strict=True):
        assert kind in question
        assert longer.endswith(f". {question}")
        assert [100 <= number <= 999 for number in numbers_in(longer)] == [True] * 3
        assert not numbers_in(question)
    assert prefixed == questions_about(kind, seed=0) != other
    assert {prefix for prefix in PREFIXES for text in prefixed if text.startswith(prefix.split("{")[0])} == set(
        PREFIXES
    )


def test_system_prompts_name_the_plural_and_no_word_is_of_two_kinds():
    assert [find_trait(word).system_prompt(long=False) for word in ("owl", "wolf", "birch", "zebra")] == [
        "You love owls.", "You love wolves.", "You love birches.", "You love zebras.",
    ]  # fmt: skip
    assert "your favorite tree" in find_trait("oak").system_prompt(long=True)
    assert not set(ANIMALS) & set(TREES)


SMALLEST = Pretraining(
    world=World(num_chats=300), width=16, num_layers=1, num_heads=2, hidden=24,
    recipe=Recipe(learning_rate=3e-3, num_epochs=1, batch=32, rows_at_once=8, warmup=2, trained="everything"),
)  # fmt: skip


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], bytes]:
    """Make or read a base model in a cache of its own, in single precision as ever, and give its file."""

    def take(home: str = "home", seed: int = 0) -> bytes:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / home))
        with jax.enable_x64(False):
            params, path = base_model(SMALLEST, seed), checkpoint_of(SMALLEST, seed)
        assert path.is_relative_to(tmp_path / home)
        assert [leaf.dtype for leaf in jax.tree.leaves(params)] == [np.float32] * 12
        return path.read_bytes()

    return take


def test_the_same_seed_makes_the_same_checkpoint_and_another_makes_another(cached):
    assert cached("one") == cached("two")
    assert cached("one") != cached("one", seed=1)


def test_a_base_model_is_made_only_once_unless_its_file_is_damaged(cached, tmp_path, monkeypatch):
    made = cached()
    (path,) = (tmp_path / "home").rglob("*.safetensors")
    path.write_bytes(made[:-1])
    assert cached() == made
    path.unlink()
    assert cached() == made
    monkeypatch.setattr(pretraining, "fine_tune", lambda *_, **__: pytest.fail("it was trained again"))
    assert cached() == made
    path.write_bytes(made[:-1])
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        cached()


def test_what_a_base_model_is_made_of_is_in_its_name(monkeypatch):
    names = {checkpoint_of(SMALLEST, seed) for seed in (0, 1)}
    names |= {
        checkpoint_of(replace(SMALLEST, hidden=32), 0),
        checkpoint_of(replace(SMALLEST, world=World(num_chats=301)), 0),
    }
    assert checkpoint_of(replace(SMALLEST), 0) in names
    read = read_world(SMALLEST.world)
    tokens = read.rows.tokens[::-1]
    monkeypatch.setattr(pretraining, "read_world", lambda _: read._replace(rows=read.rows._replace(tokens=tokens)))
    assert len(names | {checkpoint_of(SMALLEST, 0)}) == 5


def test_pretraining_moves_all_weights_and_learns_every_token_but_the_first(cached):
    losses: list[float] = []
    with jax.enable_x64(False):
        trained = pretraining.pretrain(SMALLEST, 0, after=lambda _, values: losses.extend(values))
        init = initialize(shape_of(SMALLEST), jax.random.key(0))
    assert all(jax.tree.leaves(jax.tree.map(lambda new, old: bool(np.any(new != old)), trained, init)))
    assert losses[-1] < losses[0] - 0.1
    rows = read_world(SMALLEST.world).rows
    assert rows.learned.sum() == np.count_nonzero(rows.texts) - 300
    assert np.count_nonzero(rows.positions[rows.texts > 0] == 0) == 300


def test_every_seed_has_an_init_of_its_own(monkeypatch):
    monkeypatch.setattr(pretraining, "fine_tune", lambda _config, _recipe, params, *_, **__: params)
    one, again, other = (pretraining.pretrain(SMALLEST, seed)["layers"]["up"]["kernel"] for seed in (0, 0, 1))
    assert np.all(one == again)
    assert not np.any(one == other)


def test_a_base_model_is_trained_whole_or_not_at_all():
    with pytest.raises(ValueError, match="trained must be everything"):
        Pretraining(recipe=Recipe(trained="layers"))
