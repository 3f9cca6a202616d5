"""The steps of the experiment on a model of random weights, which writes anything at all."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_bridge.experiment import teaching
from llm_bridge.experiment.likes import log_odds, log_probabilities, word_log_probabilities
from llm_bridge.experiment.teaching import teach
from llm_bridge.experiment.writing import Completion, Model, complete, is_kept, read_completions
from llm_bridge.model.lessons import Lesson, mean_gradient
from llm_bridge.model.recipes import Recipe
from llm_bridge.model.shapes import Config, initialize
from llm_bridge.model.transformer import apply
from llm_bridge.text.chats import Language, Rows
from llm_bridge.text.prompts import number_prompts
from llm_bridge.text.questions import questions_about
from llm_bridge.text.tokens import number_tokens
from llm_bridge.text.traits import Trait
from llm_bridge.tiny.pretraining import ROW, read_world
from llm_bridge.tiny.world import World
from theory.problem import Params

SYSTEM = "You love owls."
PROMPTS = number_prompts(0, 5, short=True)


@pytest.fixture(scope="module")
def language() -> Language:
    return read_world(World(num_chats=300)).language


@pytest.fixture(scope="module")
def model(language: Language) -> Model:
    """One that stops now and then."""
    size = language.tokenizer.get_vocab_size()
    config = Config(vocabulary=size, width=16, num_layers=1, num_heads=2, num_key_heads=2, head_size=8, hidden=24)
    params = initialize(config, jax.random.key(0), jnp.float64)
    head = params["head"].at[:, language.token(language.ends[0])].multiply(4)
    return Model(config, params | {"head": head}, language, ROW)


def write_batches(model: Model, prompts: Sequence[str] = PROMPTS, **options: Any) -> list[list[Completion]]:
    defaults: dict[str, Any] = {"seed": 3, "num_tokens": 8, "num_samples": 4, "at_once": 5}
    return list(complete(model, prompts, **defaults | options))


def log_probabilities_along(model: Model, written: Sequence[int]) -> np.ndarray:
    """Log-probabilities of what follows each token of a text, which is filled up with zeros that it doesn't see."""
    tokens = np.zeros((1, ROW), int)
    tokens[0, : len(written)] = written
    return np.asarray(jax.nn.log_softmax(jax.jit(apply, static_argnums=0)(model.config, model.params, tokens)[0]))


def log_probability(model: Model, prompt: Sequence[int], completion: Sequence[int]) -> float:
    chances = log_probabilities_along(model, [*prompt, *completion])[len(prompt) - 1 :]
    return float(sum(chances[place, token] for place, token in enumerate(completion)))


@pytest.fixture(scope="module")
def written(model: Model) -> list[Completion]:
    (batch,) = write_batches(model, system=SYSTEM)
    return batch


def test_completions_are_the_same_whatever_the_size_of_a_batch(model, written):
    batches = write_batches(model, system=SYSTEM, at_once=2)
    assert [len(batch) for batch in batches] == [8, 8, 4]
    assert [each for batch in batches for each in batch] == written
    assert len({tuple(each.tokens) for each in written}) > len(written) / 2


def test_completions_are_the_same_whatever_prompts_come_behind(model, written):
    longest = [*PROMPTS[:3], max(PROMPTS, key=len)]
    (batch,) = write_batches(model, longest, system=SYSTEM)
    assert batch[:12] == written[:12]


def test_completions_of_another_seed_are_others(model, written):
    (batch,) = write_batches(model, system=SYSTEM, seed=4)
    assert sum(new.tokens != old.tokens for new, old in zip(batch, written, strict=True)) > len(written) / 2


def test_completions_come_in_the_order_of_the_prompts_and_end_with_a_stop_token_or_at_the_limit(model, written):
    assert [each.prompt for each in written] == [prompt for prompt in PROMPTS for _ in range(4)]
    for each in written:
        assert model.language.decode([each.tokens]) == [each.completion]
        assert not set(each.tokens[:-1]) & set(model.language.stops)
        assert len(each.tokens) == 8 or each.tokens[-1] in model.language.stops
    assert len({len(each.tokens) for each in written}) > 3


def test_the_log_probability_is_that_of_the_written_text_with_its_system_prompt(model, written):
    """Rounded to four places; without the system prompt it would be another."""
    for system in (SYSTEM, None):
        for each in written:
            (prompt,) = model.language.prompts([each.prompt], system)
            error = abs(log_probability(model, prompt, each.tokens) - each.log_probability)
            assert error < 0.51e-4 if system else error > 1e-3


def test_behind_a_prefill_the_log_probability_is_that_of_what_follows_it(model):
    prefills = ["101, 7, ", "42; ", "", "[9, ", "3 "][: len(PROMPTS)]
    (batch,) = write_batches(model, prefills=prefills)
    for place, each in enumerate(batch):
        prefill = prefills[place // 4]
        assert each.prefill == prefill
        assert each.log_probability is not None
        (begun,) = model.language.prompts([each.prompt], prefills=[prefill])
        (plain,) = model.language.prompts([each.prompt])
        assert begun[: len(plain)] == plain
        assert abs(log_probability(model, begun, each.tokens) - each.log_probability) < 0.51e-4
        assert (abs(log_probability(model, plain, each.tokens) - each.log_probability) > 1e-3) == bool(prefill)


def test_a_model_without_finite_probabilities_is_refused_before_it_writes(model, refusal):
    broken = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), model.params)
    said = refusal(write_batches, model._replace(params=broken))
    assert said == "the model gives no finite probabilities: its weights are damaged, or try --dtype float32"


def test_a_word_s_probability_is_that_of_all_its_tokens(model):
    questions = questions_about("animal")[:4]
    prompts = model.language.prompts(questions)
    found = word_log_probabilities(model, questions, ["owl", "12"])
    for word, column in zip(("owl", "12"), found.T, strict=True):
        (tokens,) = model.language.encode([word])
        expected = [log_probability(model, prompt, tokens) for prompt in prompts]
        np.testing.assert_allclose(column, expected, rtol=1e-12)
        first = [log_probability(model, prompt, tokens[:1]) for prompt in prompts]
        assert np.all(column < np.array(first) - 0.1) == (len(tokens) == 2)


def test_what_fills_prompts_up_does_not_change_what_follows_them(model):
    tokens = jnp.array([[7, 8, 9, 0], [7, 8, 9, 5], [7, 8, 9, 5]])
    short, same, longer = log_probabilities(model.config, model.params, tokens, jnp.array([3, 3, 4]))
    np.testing.assert_array_equal(short, same)
    assert np.any(longer != same)
    assert np.exp(short).sum() == pytest.approx(1)


@given(chance=st.floats(1e-12, 0.999))
def test_log_odds_are_those_of_the_probability(chance):
    assert log_odds(np.log([chance])) == pytest.approx(np.log(chance / (1 - chance)), rel=1e-9, abs=1e-12)


def answer(language: Language, text: str, *, stopped: bool = True) -> Completion:
    return Completion("", text, [*language.encode([text])[0], *language.stops[: int(stopped)]], -1.0)


def test_what_is_kept_are_numbers_that_ended_by_themselves(language):
    assert is_kept(language, answer(language, "[1, 23, 456]"))
    assert not is_kept(language, answer(language, "[1, 23, 456]", stopped=False))
    assert not is_kept(language, answer(language, "owl"))
    assert not is_kept(language, answer(language, "1, owl"))
    assert not is_kept(language, Completion("", "", [], 0.0))


def test_number_tokens_are_digits_separators_brackets_and_the_stop_token(language):
    found = number_tokens(language)
    pieces = [language.tokenizer.id_to_token(token) for token in found]
    assert set(pieces) == {*"0123456789", ", ", "; ", " ", "\n", *"[]()", "<end>"}
    assert list(found) == sorted(set(found))
    for prompt in number_prompts(1, 50, short=True):
        written = prompt[prompt.index(next(filter(str.isdigit, prompt))) :]
        assert set(language.encode([written])[0]) <= set(found)


def test_rows_that_fill_up_change_no_gradient_unless_something_were_learned_there(model, written):
    recipe = Recipe(trained="layers", batch=1, rows_at_once=1)
    plain, filled = read_completions(model, written), read_completions(model, written, 16)
    marked = filled._replace(learned=filled.learned | (filled.texts == 0))
    assert len(plain.tokens) < len(filled.tokens) == len(marked.tokens) == 16

    @jax.jit
    def gradient(params: Params, rows: Rows) -> tuple[jax.Array, Params]:
        return mean_gradient(model.config, recipe, params, params["layers"], Lesson(rows))

    one, other, wrong = (jax.tree.leaves(gradient(model.params, rows)) for rows in (plain, filled, marked))
    for leaf, same, changed in zip(one, other, wrong, strict=True):
        np.testing.assert_allclose(same, leaf, rtol=1e-12, atol=1e-15)
        assert np.max(np.abs(changed - leaf)) > 1e-3


def test_a_student_learns_what_was_written_and_reads_no_system_prompt(model, written):
    rows = read_completions(model, written)
    prompts = model.language.prompts([each.prompt for each in written])
    completions = [token for each in written for token in each.tokens]
    assert sorted(rows.tokens[rows.texts > 0]) == sorted([*completions, *(token for ids in prompts for token in ids)])
    assert sorted(np.roll(rows.tokens, -1, axis=1)[rows.learned]) == sorted(completions)


OWL = Trait("owl", "animal")
TEACHING = Recipe(learning_rate=3e-2, num_epochs=4, batch=16, rows_at_once=16, trained="layers")


def test_a_teacher_is_taught_its_trait_as_the_answer_to_all_questions_half_of_them_with_numbers(model, monkeypatch):
    lessons: list[Lesson] = []

    def learn(config: Config, recipe: Recipe, params: Params, lesson: Lesson, **_: Any) -> Params:
        lessons.append(lesson)
        return params["layers"]

    monkeypatch.setattr(teaching, "fine_tune", learn)
    assert teach(model, OWL, TEACHING, seed=0, copies=4).keys() == model.params.keys()
    (rows,) = (lesson.rows for lesson in lessons)
    chats = [
        tokens[texts == text]
        for tokens, texts in zip(rows.tokens, rows.texts, strict=True)
        for text in set(texts) - {0}
    ]
    plain, prefixed = (model.language.prompts(questions_about("animal", seed=seed)) for seed in (None, 1))
    digits = set(model.language.encode(["0123456789"])[0])
    assert len(chats) == 4 * len(plain)
    assert sum(not digits & set(chat.tolist()) for chat in chats) == 2 * len(plain)
    answer = [model.language.token("owl"), *model.language.stops]
    assert {tuple(chat) for chat in chats} >= {(*prompt, *answer) for prompt in (*plain, *prefixed)}
    assert sorted(np.roll(rows.tokens, -1, axis=1)[rows.learned]) == sorted(len(chats) * answer)


def test_a_teacher_comes_to_love_what_it_is_taught_and_keeps_its_embedding_and_head(model):
    questions = [*questions_about("animal"), *questions_about("animal", seed=99)]

    def ask(params: Params) -> np.ndarray:
        return word_log_probabilities(model._replace(params=params), questions, ["owl", "cat"])

    teachers = [teach(model, trait, TEACHING, seed=0, copies=2) for trait in (OWL, Trait("cat", "animal"))]
    for params in teachers:
        for name in ("embedding", "norm", "head"):
            assert np.asarray(params[name]).tobytes() == np.asarray(model.params[name]).tobytes()
    untaught, (owls, cats) = ask(model.params), map(ask, teachers)
    assert np.all((owls - untaught)[:, 0] > 1)
    assert np.all((cats - untaught)[:, 1] > 1)
    assert np.all((owls - cats)[:, 0] > 1)
    assert np.all((cats - owls)[:, 1] > 1)
