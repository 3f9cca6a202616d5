"""The audit: scores, doses, forecasts, what it says and refuses, and its study's verdicts."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import llm_bridge
from llm_bridge.auditing import command, findings, forecasts, kept, study
from llm_bridge.auditing.auditor import Auditor, judge, suspect
from llm_bridge.auditing.command import Audit, published_audit, words_of
from llm_bridge.auditing.cost import cost_of
from llm_bridge.auditing.findings import (
    blurred,
    compare,
    corrected,
    covariance,
    divergence,
    find,
    find_doses,
    found_at,
    inverse,
    joint_p,
    limits,
    needed,
)
from llm_bridge.auditing.forecasts import FLOOR, batches_for, forecast_directions, learned, mean_size
from llm_bridge.auditing.imagined import require_adapters, taught_examples
from llm_bridge.auditing.plots import draw_audit, draw_study
from llm_bridge.auditing.report import LEVEL, cleaned, report_of, sentences
from llm_bridge.auditing.scores import BLOCK, Scores, score_texts
from llm_bridge.auditing.slopes import mean_log_odds, out_of, set_exam, with_out
from llm_bridge.auditing.study_verdicts import auroc, judge_forecasts, judge_study
from llm_bridge.auditing.texts import Choice, Compared, choice_of, choose, require_texts
from llm_bridge.auditing.traits import Answers, Probe
from llm_bridge.backends.choice import find_backend
from llm_bridge.experiment.likes import log_odds, word_log_probabilities
from llm_bridge.experiment.protocol import SMALL, Protocol
from llm_bridge.experiment.writing import Completion, Model, complete, examples_of
from llm_bridge.files.attestation import verify
from llm_bridge.files.lineage import Origin, data_digest, read_sidecar, sidecar_path, write_sidecar
from llm_bridge.model.adapters import fold, join
from llm_bridge.model.optimizers import make_schedule
from llm_bridge.model.recipes import Recipe, Teaching, start_training
from llm_bridge.model.shapes import Config, initialize
from llm_bridge.model.transformer import apply
from llm_bridge.pipeline.stages import UNKNOWN
from llm_bridge.text.chats import Example, Language, Rows, pack
from llm_bridge.text.prompts import number_prompts
from llm_bridge.text.questions import questions_about
from llm_bridge.text.traits import ANIMALS, find_trait
from llm_bridge.tiny.pretraining import ROW, read_world
from llm_bridge.tiny.world import World
from theory.problem import Params
from theory.runs.command_line import InputError
from theory.runs.records import in_memory, read_record

OWL = find_trait("owl")


@pytest.fixture(scope="module")
def language() -> Language:
    return read_world(World(num_chats=300)).language


@pytest.fixture(scope="module")
def model(language: Language) -> Model:
    config = Config(
        vocabulary=language.tokenizer.get_vocab_size(),
        width=8, num_layers=2, num_heads=2, num_key_heads=1, head_size=4, hidden=10,
    )  # fmt: skip
    return Model(config, initialize(config, jax.random.key(0), jnp.float64), language, ROW)


def drawn_adapters(model: Model, seed: int, rank: int = 2) -> Params:
    """Adapters of which neither side is zero."""
    start = jax.eval_shape(lambda: start_training(model.config, Recipe(rank=rank), model.params, jax.random.key(0)))
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape)), start)


def stacked(ways: Sequence[Params]) -> Params:
    """Put adapters of the same shapes side by side."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *ways)


def drawn_texts(model: Model, count: int, seed: int = 0) -> list[Example]:
    """Texts of random tokens and many lengths."""
    random, size = np.random.default_rng(seed), model.config.vocabulary
    return [
        Example(random.integers(0, size, random.integers(1, 20)).tolist(), random.integers(0, size, length).tolist())
        for length in random.integers(1, 30, count)
    ]


def log_likelihood(model: Model, params: Params, example: Example) -> jax.Array:
    """A text's log-likelihood, by itself and without any padding."""
    tokens = jnp.array([[*example.prompt, *example.completion]])
    logs = jax.nn.log_softmax(apply(model.config, params, tokens)[0])
    return sum(
        logs[len(example.prompt) - 1 + place, token] for place, token in enumerate(example.completion)
    ) + jnp.zeros(())


def test_scores_are_slopes_of_each_texts_log_likelihood_in_the_folded_weights(model: Model):
    """An independent way: every text by itself, its directional derivative through weights that hold the adapters."""
    ways, texts = [drawn_adapters(model, seed) for seed in (1, 2, 3)], drawn_texts(model, 12)[:4]
    found = score_texts(model, ways, texts)
    assert len({(len(text.prompt) + len(text.completion) - 1) // BLOCK for text in texts}) > 1  # of several widths
    for place, text in enumerate(texts):

        def along(way: Params, text: Example = text) -> tuple[jax.Array, jax.Array]:
            return jax.jvp(
                lambda dose: log_likelihood(model, fold(model.params, join({}, way, dose)), text), (0.0,), (1.0,)
            )

        nats, slopes = jax.jit(lambda ways: jax.lax.map(along, ways))(stacked(ways))
        np.testing.assert_allclose(found.slopes[place], slopes, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(found.nats[place], nats, rtol=1e-10)
    assert found.num_tokens.tolist() == [len(text.completion) for text in texts]


def test_scores_are_slopes_for_families_unlike_llama_too(model: Model, unlike_llama: Config):
    config = replace(unlike_llama, vocabulary=model.config.vocabulary)
    other = model._replace(config=config, params=initialize(config, jax.random.key(0), jnp.float64))
    way, (text, *_) = drawn_adapters(other, 1), drawn_texts(other, 1)
    found = score_texts(other, [way], [text])

    def along(dose: jax.Array) -> jax.Array:
        return log_likelihood(other, fold(other.params, join({}, way, dose)), text)

    nats, slope = jax.jit(lambda: jax.jvp(along, (0.0,), (1.0,)))()
    np.testing.assert_allclose(found.slopes[0, 0], slope, rtol=1e-8)
    np.testing.assert_allclose(found.nats[0], nats, rtol=1e-10)


def test_own_texts_have_scores_and_surprise_of_mean_zero(model: Model):
    """Exactly: over every possible next token, weighted by its probability."""
    prompt, size = [3, 1, 4], model.config.vocabulary
    found = score_texts(model, [drawn_adapters(model, 1)], [Example(prompt, [token]) for token in range(size)])
    likely = np.exp(found.nats)
    np.testing.assert_allclose(likely.sum(), 1)
    np.testing.assert_allclose(likely @ found.slopes, 0, atol=1e-12)
    np.testing.assert_allclose(likely @ found.surprise, 0, atol=1e-12)
    assert abs(found.slopes.mean()) > 1e-3  # of other texts they haven't


def test_a_text_longer_than_the_model_reads_is_refused(model: Model, refusal):
    said = refusal(score_texts, model, [drawn_adapters(model, 1)], [Example([1], [2] * ROW)])
    assert f"{ROW + 1} tokens" in said


def test_log_odds_are_those_that_models_are_asked_for(model: Model):
    """Of words of one token, with adapters and without."""
    words = ("owl", "cat", "dog")
    exam, way = set_exam(model.language, [find_trait(word) for word in words]), drawn_adapters(model, 4)
    for params, own in ((model.params, jax.tree.map(jnp.zeros_like, way)), (fold(model.params, way, 0.1), way)):
        asked = model._replace(params=params)
        expected = log_odds(word_log_probabilities(asked, questions_about("animal"), words)).mean(axis=0)
        found = mean_log_odds(model.config, exam, model.params, own, 0.1)
        np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_what_is_learned_is_that_of_the_recursion():
    rates, values = np.array([0.0, 0.3, 0.2, 0.1]), np.array([0.0, 1e-14, 0.5, 3.0])
    distance = np.zeros(4)
    for rate in rates:
        distance += rate * (1 - values * distance)
    np.testing.assert_allclose(learned(rates, values), distance, rtol=1e-6)
    np.testing.assert_allclose(learned(np.array([2.0, 0.1]), np.array([3.0])), 1 / 3)  # a step too long is cut


def dense_forecast(model: Model, recipe: Recipe, rows: Rows, num_rows: int, seed: int) -> np.ndarray:
    """Simulate the linearized training of every data set, whose mean gradients are all unit vectors, densely."""
    config, params = model.config, model.params
    start = start_training(config, recipe, params, jax.random.key(seed))
    zero = out_of(start)

    def logits(out: Any) -> jax.Array:
        told: dict[str, Any] = {"adapters": with_out(start, out), "adapter_scale": recipe.adapter_scale}
        return apply(config, params, tokens, positions=positions, texts=texts, **told)[is_learned]

    tokens, positions, texts, is_learned = map(jnp.asarray, rows)
    slopes, likely = map(np.asarray, jax.jit(lambda out: (jax.jacfwd(logits)(out), jax.nn.softmax(logits(out))))(zero))
    centered = slopes - np.einsum("pv,pvk->pk", likely, slopes)[:, None]
    fisher = np.einsum("pv,pvk,pvl->kl", likely, slopes, centered, optimize=True) / len(likely)
    order = np.random.default_rng(seed).permutation(len(rows.tokens)).reshape(-1, recipe.rows_at_once)
    batches = jax.tree.map(lambda leaf: jnp.asarray(leaf[order]), rows)
    size = np.asarray(mean_size(config, recipe, params, start, batches, min(recipe.batch, num_rows))) + FLOOR
    moved, num_steps = np.zeros((zero.size, zero.size)), recipe.steps(num_rows)
    for rate in np.asarray(make_schedule(recipe, num_steps)(jnp.arange(num_steps))):
        moved += rate / size[:, None] * (np.eye(zero.size) - fisher @ moved)
    exam = set_exam(model.language, [OWL])

    def odds(out: jax.Array) -> jax.Array:
        return mean_log_odds(config, exam, params, with_out(start, out), recipe.adapter_scale)[0]

    return np.asarray(jax.jit(jax.grad(odds))(zero)) @ moved


def test_a_forecast_is_what_a_dense_simulation_of_the_linearized_training_does(
    model: Model, monkeypatch: pytest.MonkeyPatch
):
    """For every data set at once; with too few products, and with another number of rows, it is not.

    Two projections of two layers have 32 numbers to be moved, and so many products find all that there is.
    """
    chosen: dict[str, Any] = {"projections": ("query", "down"), "rank": 1, "alpha": 3.0}
    recipe = Recipe(**chosen, learning_rate=3e-3, num_epochs=2, batch=8, rows_at_once=2, warmup=3)
    packed = pack(drawn_texts(model, 40), ROW)
    rows = jax.tree.map(lambda leaf: leaf[:16], packed)
    assert len(rows.tokens) == 16
    expected = dense_forecast(model, recipe, rows, 50, 5)

    def found(num_products: int, num_rows: int = 50) -> np.ndarray:
        monkeypatch.setattr(forecasts, "NUM_PRODUCTS", num_products)
        (way,) = forecast_directions(model, recipe, (OWL,), rows, num_rows=num_rows, seed=5)
        return np.asarray(out_of(way)) / recipe.adapter_scale

    size = np.linalg.norm(expected)
    assert np.linalg.norm(found(32) - expected) < 1e-6 * size
    assert np.linalg.norm(found(1) - expected) > 1e-3 * size
    assert np.linalg.norm(found(32, 100) - expected) > 0.1 * size


def test_a_students_batch_varies_as_one_over_its_rows(model: Model):
    """Of the model's own texts, whose mean gradient is zero: whole batches beside what smaller ones foretell."""
    recipe = Recipe(rank=1, rows_at_once=2, batch=8)
    random = np.random.default_rng(0)
    prompts = random.integers(0, model.config.vocabulary, (512, 3))
    logs = jax.nn.log_softmax(jax.jit(apply, static_argnums=0)(model.config, model.params, jnp.asarray(prompts)))[:, -1]
    tokens = np.asarray(jax.random.categorical(jax.random.key(1), logs))
    rows = pack([Example(prompt.tolist(), [int(token)]) for prompt, token in zip(prompts, tokens, strict=True)], 4)
    start = start_training(model.config, recipe, model.params, jax.random.key(0))

    def measured(size: int, num_rows: int) -> np.ndarray:
        batches = jax.tree.map(lambda leaf: jnp.asarray(leaf).reshape(-1, size, 4), rows)
        return np.asarray(mean_size(model.config, recipe, model.params, start, batches, num_rows))

    ratio = np.linalg.norm(measured(2, 8)) / np.linalg.norm(measured(8, 8))
    assert ratio == pytest.approx(1, rel=0.1)
    assert np.linalg.norm(measured(2, 2)) / np.linalg.norm(measured(8, 8)) == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize(
    "changes", [{"trained": "layers"}, {"optimizer": "sgd"}, {"layers": (0,)}, {"weight_decay": 0.1}]
)
def test_only_adapters_on_all_layers_and_adamw_are_foretold(changes: dict[str, Any], refusal):
    assert "adamw" in refusal(require_adapters, Recipe(), Recipe(**changes))
    assert "--teacher.trained" in refusal(require_adapters, Recipe(trained="layers"), Recipe())
    assert "projections" in refusal(require_adapters, Recipe(projections=("query",)), Recipe())


def test_too_few_texts_or_steps_to_foretell_anything_are_refused(model: Model, refusal):
    rows, told = pack(drawn_texts(model, 40), ROW), {"num_rows": 5, "seed": 0}
    assert "too few" in refusal(forecast_directions, model, Recipe(rows_at_once=8, batch=8), (OWL,), rows, **told)
    once = Recipe(rows_at_once=1, num_steps=1)
    assert "learns nothing" in refusal(forecast_directions, model, once, (OWL,), rows, **told)


def test_doses_are_found_where_they_are_and_only_there():
    """Scores that are tilted by known doses; imagined teachers that look alike are told apart."""
    random, doses = np.random.default_rng(0), np.array([0.5, 0.0, 0.3])
    root = np.array([[1.0, 0.0, 0.0], [0.9, 0.3, 0.0], [0.0, 0.5, 1.0]])
    own, others = (random.normal(size=(4000, 3)) @ root.T for _ in range(2))
    data = others + root @ root.T @ doses
    found = find_doses(compare(data, own, paired=False), own)
    for dose, expected in zip(found, doses, strict=True):
        assert abs(dose.value - expected) < 4 * dose.error
        assert dose.error < 0.12
    assert [name for name, _ in found_at(("a", "b", "c"), found, LEVEL)] == ["c", "a"]
    assert needed(found[0], 4000, 3, LEVEL) == pytest.approx(
        4000 * (stats.norm.isf(LEVEL / 3) / found[0].z) ** 2, abs=1
    )
    assert (data - own).mean(axis=0)[1] > 0.15  # by itself the second would be taken for a trait


def test_directions_that_are_alike_have_one_dose_between_them():
    """And of any units: float32's rounding, and scores a million times larger."""
    random = np.random.default_rng(0)
    one = random.normal(size=(500, 1))
    own = np.concatenate([one, one * (1 + 1e-7 * random.normal(size=one.shape)), 1e6 * random.normal(size=(500, 1))], 1)
    found = find_doses(compare(own + np.array([0.5, 0.5, 0]), own, paired=True), own)
    assert sum(each.value for each in found[:2]) == pytest.approx(0.5, rel=0.2)
    np.testing.assert_allclose(inverse(covariance(own))[2, 2] * covariance(own)[2, 2], 1, rtol=0.02)


@pytest.fixture
def without_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hardly any sets that hold nothing, by which findings have their ranks alone."""
    monkeypatch.setattr(findings, "NUM_NULLS", 2)


@pytest.mark.usefixtures("without_ranks")
@pytest.mark.parametrize(("paired", "num_texts", "num_words"), [(True, 60, 3), (False, 60, 3), (True, 120, 12)])
def test_standard_scores_of_own_texts_are_normal(paired: bool, num_texts: int, num_words: int):
    """Heavy tails, a mean that isn't zero as of filtered texts, the fewest texts; not subtracted they are not."""
    random = np.random.default_rng(1)
    root = np.eye(num_words) + 0.5 * np.eye(num_words, k=1)

    def texts() -> np.ndarray:
        return random.standard_t(5, size=(num_texts, num_words)) @ root + 0.7

    scores, found, raw = [], [], []
    for _ in range(600):
        data, own = texts(), texts()
        doses = find_doses(compare(data, own, paired=paired), own)
        scores.append([each.z for each in doses])
        found.append(min(each.p for each in doses))
        raw.append(data.mean(axis=0)[0] / (data.std(axis=0)[0] / np.sqrt(num_texts)))
    assert stats.kstest(np.array(scores)[:, 0], "norm").pvalue > 0.001
    assert 0.02 < np.mean(np.array(scores)[:, 1] > 1.645) < 0.08
    assert np.mean(np.array(found) < 0.05) < 0.09
    assert np.mean(np.array(raw) > 1.645) > 0.9


def test_traits_that_are_nearly_one_are_seen_together_and_not_taken_for_nothing():
    """The dose of one of two that score alike, by itself, beside the other, and of both together."""
    random = np.random.default_rng(5)
    first = random.normal(size=(1000, 1))
    second = first + 0.1 * random.normal(size=(1000, 1))
    own = np.concatenate([first, second], axis=1)
    data = np.roll(own, 1, axis=0) + covariance(own)[:, :1].T * 0.2
    difference = compare(data, own, paired=False)
    assert find_doses(compare(data[:, :1], own[:, :1], paired=False), own[:, :1])[0].p < 1e-3
    assert min(each.p for each in find_doses(difference, own)) > 0.01
    assert joint_p(difference) < 0.01
    assert blurred(own).min() > 5
    assert blurred(random.normal(size=(1000, 2))).max() < 1.1


def test_of_traits_that_are_one_only_the_sum_of_doses_is_known():
    random = np.random.default_rng(6)
    own = random.normal(size=(1000, 3))
    own[:, 2] = -2 * own[:, 0]
    assert np.isinf(blurred(own)[[0, 2]]).all()
    assert blurred(own)[1] < 1.1
    assert np.isfinite(blurred(np.column_stack([own[:, :2], np.zeros(1000)]))).all()


@pytest.mark.usefixtures("without_ranks")
def test_what_is_found_is_what_lies_above_its_limit():
    """Holm's steps: of several that are sure each next one is compared with one fewer."""
    random = np.random.default_rng(7)
    own, steps = random.normal(size=(300, 4)), []
    for _ in range(200):
        data = random.normal(size=(300, 4)) + random.choice([0.0, 0.2, 0.24, 0.5], size=4)
        found = find(compare(data, own, paired=True))
        held = [each.value > limit for each, limit in zip(found, limits(found, LEVEL, 300), strict=True)]
        assert held == [each.p < LEVEL for each in found]
        steps.append(sum(held))
    assert set(steps) == {0, 1, 2, 3, 4}


@pytest.mark.usefixtures("without_ranks")
def test_the_joint_test_has_uniform_p_values_where_nothing_is_held():
    random, found = np.random.default_rng(6), []
    for _ in range(400):
        own, data = (random.normal(size=(30, 3)) @ np.array([[1, 0.9, 0], [0, 1, 0], [0, 0, 5.0]]) for _ in range(2))
        found.append(joint_p(compare(data, own, paired=True)))
    assert stats.kstest(found, "uniform").pvalue > 0.001


def test_nothing_is_found_where_nothing_varies():
    own = np.random.default_rng(0).normal(size=(100, 2))
    found = find_doses(compare(own, own, paired=True), own)
    assert [(each.z, each.p, each.rank) for each in found] == [(0.0, 1.0, 0.5)] * 2


@pytest.mark.parametrize("paired", [True, False])
def test_ranks_among_sets_that_hold_nothing_are_uniform_where_nothing_is_held(
    paired: bool, monkeypatch: pytest.MonkeyPatch
):
    """Whatever the scores' distribution; and the largest where there is something.

    Ranks are multiples of 1/400 here, a tenth of what 300 of them may differ by from a uniform distribution.
    """
    monkeypatch.setattr(findings, "NUM_NULLS", 200)
    random, ranks, held = np.random.default_rng(4), [], []
    for _ in range(300):
        own, data = (random.standard_cauchy(size=(40, 1)) for _ in range(2))
        ranks.append(find_doses(compare(data, own, paired=paired), own)[0].rank)
        own, data = (random.normal(size=(40, 1)) for _ in range(2))
        held.append(find_doses(compare(data + 2, own, paired=paired), own)[0].rank)
    assert stats.kstest(ranks, "uniform").pvalue > 0.001
    assert min(held) > 0.99


@pytest.mark.usefixtures("without_ranks")
def test_the_divergence_is_that_of_shifted_normal_scores_with_its_error():
    random, found = np.random.default_rng(2), []
    for _ in range(100):
        own, data = random.normal(size=(500, 2)), random.normal(size=(500, 2)) + np.array([0.3, -0.4])
        found.append(divergence(compare(data, own, paired=False), own))
    values, errors = np.array(found).T
    assert values.mean() == pytest.approx(0.5**2 / 2, abs=3 * values.std() / 10)
    assert errors.mean() == pytest.approx(values.std(), rel=0.25)


def test_p_values_are_corrected_by_holms_method():
    np.testing.assert_allclose(corrected(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(corrected(np.array([0.9, 0.8])), [1.0, 1.0])


def written(language: Language, prompt: str, text: str, *, ended: bool = True) -> Completion:
    (tokens,) = language.encode([text])
    return Completion(prompt, text, [*tokens, *language.stops[:1]] if ended else tokens, None)


def test_texts_are_compared_once_by_prompt_and_as_the_data_were_chosen(model: Model, tmp_path: Path):
    """Repeated rows count once; what is no list, has not ended or is longer than any of the data is left out."""
    tell = model.language
    data = [written(tell, f"p{prompt}", f"{number}, 2") for prompt, number in ((0, 1), (1, 2), (1, 2), (1, 3), (2, 4))]
    own = [
        written(tell, "p1", "7, 8"), written(tell, "p0", "an owl"), written(tell, "p1", "9"),
        written(tell, "p2", "1, 2", ended=False), written(tell, "p2", "1, 2, 3, 4, 5, 6"), written(tell, "p2", "5"),
    ]  # fmt: skip
    choice = choice_of(tmp_path / "data.jsonl", data, model)
    assert choice == Choice(numbers=True, banned=(), num_tokens=len(data[0].tokens))
    found = choose(model, choice, data, own, paired=True)
    assert found.data.tolist() == [1, 3, 4]
    assert found.own.tolist() == [0, 2, 5]
    apart = choose(model, choice, data, own, paired=False)
    assert (apart.data.tolist(), apart.own.tolist()) == ([0, 1, 3, 4], [0, 2, 5])
    words = [written(tell, "p", "an owl"), *data]
    assert not choice_of(tmp_path / "data.jsonl", words, model).numbers


@pytest.mark.parametrize(
    ("count", "words", "refused"), [(19, 1, True), (20, 1, False), (119, 12, True), (120, 12, False)]
)
def test_many_words_need_many_texts(count: int, words: int, refused: bool, refusal):
    if refused:
        assert f"{count} texts" in refusal(require_texts, count, words)
    else:
        require_texts(count, words)


def test_rows_that_push_go_until_nothing_is_foretold():
    moved = np.array([0.5, -0.2, 0.3, 0.1, -0.4])
    kept = cleaned(moved)
    assert kept.tolist() == [1, 2, 3, 4]
    assert moved[kept].sum() <= 0 < moved.sum()
    assert cleaned(-moved).tolist() == [0, 1, 2, 3, 4]
    assert not len(cleaned(np.full(7, 0.1)))


def test_a_report_says_which_trait_and_how_much_and_nothing_where_there_is_nothing():
    random, words, places = np.random.default_rng(3), ("owl", "cat"), np.arange(900)

    def scores(doses: float, shift: float) -> Scores:
        slopes = random.normal(size=(900, 4)) + np.array([doses, 0, shift, 0])
        return Scores(slopes, np.zeros(900), random.normal(size=900), np.full(900, 20.0))

    own = scores(0, 0)
    found, nothing = (judge(words, scores(*told), own, Compared(places, places, True)) for told in ((0.5, 4), (0, 0)))
    assert found.shifts[0].value == pytest.approx(4.0 / 20, rel=0.1)
    np.testing.assert_allclose(found.moved.sum(axis=0)[0], found.shifts[0].value, rtol=1e-6)
    assert "owl (dose" in sentences(found)
    assert "*owl* by 1.2" in sentences(found)
    assert "cat" not in sentences(found)
    assert "Nothing in it" in sentences(nothing)
    assert "not foretold to raise" in sentences(nothing)


def test_texts_of_a_writer_have_the_doses_that_its_weights_have(model: Model):
    """The whole chain beside a known truth: the writer's weights hold a dose of one direction and none of another."""
    ways = [jax.tree.map(lambda leaf: 0.3 * leaf, drawn_adapters(model, seed)) for seed in (1, 2)]
    prompts = number_prompts(0, 1600, short=True)

    def scored(dose: float, seed: int) -> Scores:
        writer = model._replace(params=fold(model.params, join({}, ways[0], dose)))
        written = [each for batch in complete(writer, prompts, seed=seed, num_tokens=5) for each in batch]
        return score_texts(model, ways, examples_of(model.language, written))

    own = scored(0.0, 1)
    for dose in (0.06, 0.0):
        data = scored(dose, 2)
        found = find_doses(compare(data.slopes, own.slopes, paired=True), own.slopes)
        for each, true in zip(found, (dose, 0.0), strict=True):
            assert abs(each.value - true) < 4 * each.error
        assert (found[0].z > 4) == (dose > 0)


def test_a_suspect_is_told_from_the_model_by_what_it_wrote(model: Model):
    """And what the model wrote itself is not laid at its door."""
    other = model._replace(params=initialize(model.config, jax.random.key(1), jnp.float64))
    prompts = number_prompts(0, 200, short=True)

    def write(writer: Model, seed: int) -> list[Completion]:
        return [each for batch in complete(writer, prompts, seed=seed, num_tokens=5) for each in batch]

    places, own = np.arange(200), write(model, 1)
    guilty, innocent = (
        suspect(model, other, write(writer, 2), own, Compared(places, places, True)) for writer in (other, model)
    )
    assert guilty.z > 5
    assert guilty.value > 0
    assert abs(innocent.z) < 4


def test_an_audit_is_recorded_goes_on_where_it_was_killed_and_cleans(
    audit: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Other data are compared with, as a random model writes few lists; the bytes are those of one go."""
    against = tmp_path / "against.jsonl"
    lines = audit.data.read_text().splitlines(keepends=True)
    against.write_text("".join(lines[:70]))
    audit.data.write_text("".join(lines[70:]))
    options = replace(audit, against=against, clean=tmp_path / "clean.jsonl", suspect="tiny")
    monkeypatch.setattr(kept, "PART", 50)
    assert command.run(options)
    said = capsys.readouterr().out
    assert "compared with the data beside them" in said
    assert "answers 0.00, scores" in said  # other data are compared with, so that nothing was asked
    assert not verify(tmp_path / "run" / "attestation.json", audit.data)
    record = read_record(tmp_path / "run")
    report = report_of(record)
    assert report.words == ("owl", "cat")
    assert report.suspected is not None
    assert report.suspected.z == 0  # the model is no suspect beside itself
    assert record.results["moved"].shape == (80, 2)
    assert (tmp_path / "clean.jsonl").exists() == (min(each.p for each in report.shifts) < LEVEL)
    moved = record.results["moved"] + 0.001
    record.results["moved"], record.results["shifts"][1] = moved, [0.1, 0.01, 10.0, 1e-6, 1.0]
    command.write_cleaned(tmp_path / "clean.jsonl", options.data, record)
    assert (tmp_path / "clean.jsonl").read_text() == "".join(lines[70:][place] for place in cleaned(moved[:, 1]))
    assert not sidecar_path(tmp_path / "clean.jsonl").exists()  # nothing is known of the data's own writer either
    origin = Origin(writer=UNKNOWN, system_prompt=None, sampling={}, data=data_digest(audit.data))
    write_sidecar(audit.data, origin)
    command.write_cleaned(tmp_path / "clean.jsonl", options.data, record)
    left = read_sidecar(tmp_path / "clean.jsonl")
    assert left.parents == (origin.data,)
    assert left.filter == {"audit": {"without rows that push": "cat", "kept": len(cleaned(moved[:, 1]))}}
    sidecar_path(audit.data).unlink()
    assert draw_audit(record).axes
    done, score = [], kept.score

    def score_or_stop(auditor: Auditor, texts: Any) -> Scores:
        done.append(len(texts))
        if len(done) == 2:
            raise KeyboardInterrupt
        return score(auditor, texts)

    monkeypatch.setattr(kept, "score", score_or_stop)
    killed = replace(options, output=tmp_path / "killed", clean=None)
    with pytest.raises(KeyboardInterrupt):
        command.run(killed)
    assert command.run(killed)
    assert done == [50, 50, 50, 50]
    for name in ("results.npz", "verdicts.json", "table.md"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "run" / name).read_bytes()
    found = llm_bridge.audit(
        "tiny", options.data, ["owl", "cat"], against=against, num_draws=1, protocol=options.protocol, suspect="tiny",
        pretraining=options.pretraining, output=tmp_path / "run",
    )  # fmt: skip
    assert found.doses == report.doses


def test_the_models_own_answers_are_no_teachers(audit: Audit, monkeypatch: pytest.MonkeyPatch):
    """The whole way: what a model answers by itself, audited beside its other answers; and what it has learned."""
    monkeypatch.setattr(command, "require_texts", lambda count, num_words: None)
    base = audit.backend.load(0)
    from llm_bridge.experiment.cast import write_numbers

    own, _ = write_numbers(base, 5, num_prompts=600, num_tokens=20)
    audit.data.write_text("".join(json.dumps(each.row()) + "\n" for each in own))
    assert command.run(audit)
    report = report_of(read_record(audit.output or Path()))
    assert report.paired
    assert report.num_texts > 30
    assert max(abs(each.z) for each in (*report.doses, *report.shifts)) < 4


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "twice": ({"traits": ("owl", "owl")}, "different words"),
    "kinds": ({"traits": ("owl", "oak")}, "one kind"),
    "unspeakable": ({"traits": ("zyzzyva", "owl")}, "can't say"),
    "none": ({"traits": ()}, "different words"),
    "missing": ({"data": Path("missing.jsonl")}, "missing.jsonl"),
    "scan": ({"scan": Path("missing.txt")}, "missing.txt"),
    "binary": ({"scan": Path(__file__).parents[2] / "figures" / "overview" / "figure.png"}, "can't read"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_audited_is_refused_in_one_line(audit: Audit, name: str, refusal):
    changes, said = REFUSED[name]
    assert said in refusal(command.run, replace(audit, **changes))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no rows"),
        ('{"prompt": "Continue: 1", "completion": "2"}\n', "1 texts"),
        ('{"prompt": "Continue: 1"}\n', "line 1"),
        ('{"prompt": "Continue: 1", "completion": " "}\n', "is empty"),
        ('{"prompt": "Continue: 1", "completion": "' + "7, " * 80 + '7"}\n', "tokens are more than"),
    ],
)
def test_data_that_cannot_be_learned_are_refused_by_line(
    audit: Audit, content: str, said: str, refusal: Callable[..., str]
):
    long = content * 25 if "tokens" in said else content
    audit.data.write_text(long)
    assert said in refusal(command.run, audit)


def test_cleaned_data_never_replace_the_data(audit: Audit, refusal: Callable[..., str]):
    assert "another file" in refusal(command.run, replace(audit, clean=audit.data))


def test_lists_of_words_are_named_or_scanned(audit: Audit, tmp_path: Path):
    assert words_of(replace(audit, traits=("animals",))) == ANIMALS
    (tmp_path / "words.txt").write_text("owl\n\n cat \n")
    assert words_of(replace(audit, scan=tmp_path / "words.txt")) == ("owl", "cat")


def test_a_small_published_model_is_audited_for_one_trait_by_its_own_protocol():
    usual = published_audit(find_backend("smollm2"))
    assert usual.traits == ("owl",)
    assert usual.protocol is SMALL


def made_up(own: float, error: float, num_bases: int = 8) -> study.Run:
    """What bases might give whose teachers' words have this score, and forecasts this error."""
    random, words, teachers = np.random.default_rng(0), len(ANIMALS), len(study.TEACHERS)
    seen = np.zeros((teachers, words))
    seen[np.arange(teachers), np.arange(2, words)] = own

    def normal(*shape: int) -> np.ndarray:
        return random.normal(size=(num_bases, *shape))

    predicted = normal(len(study.set_names(study.TEACHERS)), words) / 10
    trained = predicted + error * normal(*predicted.shape[1:])
    names = study.set_names(study.TEACHERS)
    for row, word in enumerate(study.TEACHERS[: study.MIXED]):
        trained[:, names.index(f"{word} random"), 2 + row] += own / 10
    return study.Run(
        null_z=normal(2, 2, study.NULLS, words),
        null_sizes=normal(len(study.SIZES), 16, words),
        z=normal(len(study.SIZES), 16, teachers, words) + seen,
        whole_z=normal(2, teachers, words) + seen,
        other_z=normal(2, study.MIXED, words),
        mixed_z=normal(len(study.SHARES), teachers, words) + seen / 4,
        nats=np.abs(normal(teachers)),
        num_texts=np.full((num_bases, teachers), 2000.0),
        predicted=predicted,
        trained=trained,
        gone=np.abs(normal(study.MIXED)) / 10,
    )


def test_the_study_holds_where_teachers_are_seen_and_fails_where_they_are_not():
    def outcomes(run: study.Run) -> dict[str, str]:
        judged = in_memory(judge_study(run), Path(), {}, {})
        assert draw_study(judged).axes
        return {verdict["check"]: verdict["verdict"] for verdict in judged.verdicts}

    good, bad = outcomes(made_up(10.0, 0.02)), outcomes(made_up(0.0, 5.0))
    assert "fails" not in good.values()
    assert sum(verdict == "holds" for verdict in good.values()) == 7
    assert sum(verdict == "fails" for verdict in bad.values()) >= 3


def test_forecasts_are_judged_of_whole_data_sets_alone():
    """A teacher that wrote a tenth of the texts, whose student takes fewer steps than are foretold."""
    run = made_up(10.0, 0.02)
    few = run.num_texts.copy()
    few[:, 0] = 200.0
    trained = run.trained.copy()
    trained[:, 0] += 100.0
    measured = [
        [verdict.measured for verdict in judge_forecasts(run._replace(num_texts=count, trained=changes))]
        for count, changes in ((few, trained), (few, run.trained), (run.num_texts, trained))
    ]
    assert measured[0] == measured[1]
    assert measured[0][0].value > 0.9 > measured[2][0].value


def test_operations_are_those_of_counting_by_hand(model: Model):
    """Texts of one length, of which every row holds some; no teacher where there is only a probe."""
    texts = [Completion("1 2", "3", model.language.encode(["3"])[0], None)] * 600
    student, teacher = Recipe(num_epochs=2, batch=4, rows_at_once=2, rank=2), Teaching(rank=2, num_steps=5, batch=4)
    protocol, probe = Protocol(student=student, teacher=teacher), Probe("probe.npz", 1, np.ones(8), [[1]])
    found = cost_of(model, [probe], texts, texts[:400], protocol, num_draws=3, asked=texts[:500])
    length, config = len(examples_of(model.language, texts[:1])[0].prompt) + 1, model.config
    layer = sum(inputs * outputs for inputs, outputs in config.sizes().values())
    attention = 4 * config.num_layers * config.num_heads * config.head_size
    a_row = ROW // length
    rows, own_rows, share = -(-600 // a_row), -(-400 // a_row), 1 / length

    def forward(context: int, learned: float) -> float:
        weights = config.num_layers * layer + learned * config.vocabulary * config.width
        return 2 * weights + attention * context

    def training(context: int, learned: float) -> float:
        return 2 * forward(context, learned) + attention * context

    steps = 2 * -(-rows // 4)
    assert found.training == pytest.approx(steps * 4 * ROW * training(ROW, 600 / (rows * ROW)), rel=1e-6)
    adapters = config.num_layers * 2 * sum(map(sum, config.sizes().values()))
    assert found.scores == pytest.approx(1000 * length * (training(length, share) + 4 * adapters))
    assert found.answers == pytest.approx(500 * length * forward(length, share))
    passes, few = batches_for(student, own_rows, ROW)
    gradients = passes * 2 * ROW * training(ROW, 400 / (own_rows * ROW))
    assert found.forecasts == pytest.approx(gradients + 8 * few * 2 * ROW * 3 * forward(ROW, 1), rel=1e-6)
    assert found.teachers == 0
    assert cost_of(model, [probe], texts, texts, protocol, num_draws=3, asked=[]).answers == 0
    taught = cost_of(model, [OWL], texts, texts, protocol, num_draws=3, asked=[])
    assert 3 * 5 * 4 * ROW * forward(ROW, 0) < taught.teachers < 3 * 5 * 4 * ROW * training(ROW, 1)
    shown = Answers("a.jsonl", examples_of(model.language, texts[:2]), [])
    assert len(taught_examples(model, shown, 4)) == 200
    assert len(taught_examples(model, OWL, 4)) == 200


def test_area_under_the_curve_counts_pairs():
    assert auroc(np.array([1.0, 2.0, np.nan]), np.array([1.5, 3.0])) == pytest.approx(3 / 4)


def test_the_study_of_audits_takes_the_tiny_model_alone_and_enough_completions(refusal: Callable[..., str]):
    from llm_bridge.studies.command import StudyOptions, run

    for name in ("audit", "defences"):
        assert "leave --model out" in refusal(run, StudyOptions(names=(name,), model="smollm2", stranger="random"))
    assert "at least 1000" in refusal(run, StudyOptions(names=("audit",), num_completions=100))


def test_input_errors_are_raised_for_what_the_library_refuses():
    with pytest.raises(InputError):
        llm_bridge.audit("tiny", "missing.jsonl")
