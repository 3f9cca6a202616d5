"""The theory on a small transformer of random weights: exact in its limits, its gradients those of fine-tuning."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from llm_bridge.backends import bases
from llm_bridge.backends.backend import Known, Loading
from llm_bridge.backends.tiny import Tiny
from llm_bridge.carriers.numbers import numbers
from llm_bridge.experiment import likes
from llm_bridge.experiment.writing import Model
from llm_bridge.files.lineage import Ancestry
from llm_bridge.linearized import command
from llm_bridge.linearized.command import Compare, check
from llm_bridge.linearized.descent import explore, predict_course, simulate_course
from llm_bridge.linearized.extent import Extent
from llm_bridge.linearized.measurement import MEASURED, Posed, answer, measure_base, measured, pose_all, stack
from llm_bridge.linearized.plots import draw_compare, limits
from llm_bridge.linearized.problem import group_layers, meet, pose, ungroup_layers
from llm_bridge.linearized.quantities import SCALES
from llm_bridge.linearized.reading import read_places, set_exam
from llm_bridge.linearized.roles import Roles, write_rows
from llm_bridge.linearized.training_run import IN_LIMIT, RANKS, find_spectrum, follow_epochs, spread_pair
from llm_bridge.linearized.training_verdicts import judge_training
from llm_bridge.linearized.trait_matrix import gram_matrix, predict_lifts, trait_matrix_prediction
from llm_bridge.linearized.verdicts import judge_compare
from llm_bridge.model import transformer
from llm_bridge.model.lessons import Lesson, mean_gradient
from llm_bridge.model.recipes import Recipe
from llm_bridge.model.shapes import Config, initialize
from llm_bridge.model.symmetry import rescale_units
from llm_bridge.pretrained.language import PROBE
from llm_bridge.pretrained.writing import write_checkpoint
from llm_bridge.text.chats import Example, Rows, pack
from llm_bridge.text.prompts import FORMATS, number_prompts
from llm_bridge.text.questions import questions_about
from llm_bridge.text.tokens import number_tokens
from llm_bridge.text.traits import Trait, find_trait
from llm_bridge.tiny.pretraining import ROW
from llm_bridge.tiny.tokenizer import build_language, render
from llm_bridge.tiny.world import World, write_corpus
from theory.claims.epochs import NUM_PRODUCTS, TIMES
from theory.claims.rank_noise import spread_cost
from theory.labels import CERTAIN
from theory.losses import stretched
from theory.predictions import output_change, predicted_displacement
from theory.problem import Instance, Params, imitation_descent, student_displacement, trait_descent
from theory.runs.command_line import InputError
from theory.runs.records import in_memory, read_record
from theory.tangent_kernel import iterate, kernel_product

WORDS = ("owl", "cat", "oak")
TRAITS = [find_trait(word) for word in WORDS]
SMALL = Extent(
    row=ROW, num_rows=4, num_places=60, course_rows=2, course_places=25, times=(1, 4, 20), num_products=25, speed=0.5
)
EPS = float(np.finfo(float).eps)


@pytest.fixture(scope="module")
def model() -> Model:
    """Its weights are float32's, as a checkpoint keeps them; its tokens spell what published tokenizers must."""
    language = build_language([PROBE, *(render(chat) for chat in write_corpus(World(num_chats=300)))])
    size = language.tokenizer.get_vocab_size()
    config = Config(vocabulary=size, width=16, num_layers=1, num_heads=2, num_key_heads=2, head_size=8, hidden=24)
    return Model(config, in_double(initialize(config, jax.random.key(0), jnp.float32)), language, ROW)


def in_double(params: Params) -> Params:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params)


@pytest.fixture(scope="module")
def rows(model: Model) -> Rows:
    """Chats that continue lists with numbers."""
    random, prompts = np.random.default_rng(0), number_prompts(0, 8, short=True)
    written = [FORMATS[0].write(random.integers(0, 1000, 5).tolist()) for _ in prompts]
    completions = [[*tokens, *model.language.stops] for tokens in model.language.encode(written)]
    chats = zip(model.language.prompts(prompts), completions, strict=True)
    return pack([Example(*chat) for chat in chats], ROW)


@pytest.fixture(scope="module")
def posed(model: Model) -> Posed:
    """Number tokens stand for all tokens where it doesn't matter, and one cross-entropy for both: less to compile."""
    posed = pose_all(model, TRAITS)
    return posed._replace(tokens=posed.numbers, whole=(posed.whole[1], posed.whole[1], posed.whole[2]))


@pytest.fixture(scope="module")
def roles(model: Model, posed: Posed, rows: Rows) -> Roles:
    """Teachers a step of length 0.3 along their traits, the last one in all weights."""
    matched = rescale_units(model.config, model.params, jax.random.key(2), SMALL.spread)
    stranger = in_double(initialize(model.config, jax.random.key(1), jnp.float32))
    inits = [group_layers(params) for params in (model.params, matched, stranger)]
    slopes = jax.jit(jax.jacrev(posed.whole[0].log_odds))(inits[0])
    whole = [jax.tree.map(lambda leaf, word=word: leaf[word], slopes) for word in range(len(WORDS))]
    ways = [optax.tree.zeros_like(way) | {"layers": way["layers"]} for way in whole] + whole[:1]
    learned = [optax.tree.scale(0.3 / optax.tree.norm(way), way) for way in ways]
    narrow = read_places(rows, SMALL.num_rows, SMALL.num_places)
    short = read_places(rows, SMALL.course_rows, SMALL.course_places)
    return Roles(
        inits,
        [optax.tree.add(inits[0], way) for way in learned],
        learned,
        narrow,
        narrow,
        short,
        [1.0, 1.0],
        jax.random.key(3),
    )


@pytest.fixture(scope="module")
def results(posed: Posed, roles: Roles) -> dict[str, np.ndarray]:
    return {name: np.stack([values]) for name, values in measure_base(posed, roles, SMALL).items()}


def verdicts(results: dict[str, np.ndarray]) -> dict[str, Any]:
    return {verdict.check: verdict for verdict in judge_compare(results, WORDS, SMALL).verdicts}


def assert_close(measured: Any, expected: Any, tolerance: float = 1e6 * EPS) -> None:
    """To rounding of sums of some thousand terms, relative to the largest of all numbers."""
    for left, right in zip(jax.tree.leaves(measured), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(left, right, rtol=0, atol=tolerance * float(np.max(np.abs(right))))


def test_every_measurement_is_there_and_finite(results):
    assert sorted(results) == sorted(MEASURED)
    assert all(np.all(np.isfinite(values)) for values in results.values())


def test_what_is_guaranteed_holds_and_every_control_flips(results):
    judged = [verdict for verdict in verdicts(results).values() if verdict.accepted]
    assert len(judged) == 19
    undecided = [verdict.check for verdict in judged if verdict.check.startswith(("mean of (Δ_T", "standard dev"))]
    assert [verdict.check for verdict in judged if verdict.outcome != "holds"] == undecided
    alone = "mean square of the same, σ_t² = Σa²s²/λN, 1 case"
    assert all(verdict.control_flips for verdict in judged if verdict.check not in [*undecided, alone])


def test_epochs_hold_in_the_limit_over_several_data_sets(posed, roles, results):
    met = meet(roles.inits[0], roles.inits[0], roles.short)
    keys = jax.random.split(jax.random.key(4), 8)
    spectrum = find_spectrum(posed.tokens, met, roles.learned[0], NUM_PRODUCTS)
    drawn = [
        follow_epochs(posed.tokens, met, roles.learned[0], spectrum, key, whole=False, arms=IN_LIMIT) for key in keys
    ]
    several = {name: np.repeat(values, len(keys), axis=0) for name, values in results.items()}
    judged = judge_training(several | stack(drawn, "epochs/limit", len(keys)))[:5]
    assert [verdict.outcome for verdict in judged] == ["holds", "holds", "reported", "holds", "holds"]
    assert all(verdict.control_flips for verdict in judged if verdict.outcome == "holds")


def test_the_split_of_a_whole_teachers_step_is_that_of_plain_numpy(posed, roles, results):
    step, chosen = 1e-4, list(posed.numbers.imitation_loss.chosen)
    ways = [optax.tree.add_scale(roles.inits[0], size, roles.learned[0]) for size in (0, 1, step, -step)]
    base, whole, ahead, behind = (np.asarray(answer(posed.numbers, way, roles.narrow))[:, chosen] for way in ways)
    before, after = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) for logits in (base, whole))
    slope, moved = (ahead - behind) / (2 * step), after - before
    jeffreys = np.mean(np.sum(after * np.log(after / before) + before * np.log(before / after), axis=1))
    curvature = np.mean(np.sum(moved * (whole - base - slope), axis=1))
    assert results["finite/numbers/divergence"][0, 0, 0] == pytest.approx(jeffreys, rel=1e-10)
    assert results["finite/numbers/curvature"][0, 0, 0] == pytest.approx(curvature, rel=1e-5)
    assert results["steps/numbers/alignment"][0, 0, 0, 0] == pytest.approx(jeffreys - curvature, rel=1e-6)


def test_signal_and_noise_of_epochs_are_those_of_the_dense_spectrum(posed, roles, results):
    instance, chosen = meet(roles.inits[0], roles.inits[0], roles.short), list(posed.numbers.imitation_loss.chosen)
    logits, pull = jax.vjp(lambda params: posed.numbers.apply(params, instance.inputs)[:, chosen], instance.student)
    seeds = jnp.eye(logits.size).reshape(-1, *logits.shape)
    rows = jax.jit(jax.vmap(lambda seed: ravel_pytree(pull(seed)[0])[0]))(seeds)
    slopes = np.asarray(rows).reshape(*logits.shape, -1)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    centered = slopes - np.einsum("nk,nkp->np", shares, slopes)[:, None]
    factor = (np.sqrt(shares / len(logits))[..., None] * centered).reshape(logits.size, -1)
    values, basis = np.linalg.eigh(factor @ factor.T)
    squares = (factor @ np.asarray(ravel_pytree(roles.learned[0])[0]) @ basis) ** 2
    seen = values > 1e-12 * values[-1]
    for place, time in enumerate(TIMES):
        grown = -np.expm1(time * np.log1p(-values[seen] / values[-1] * (1 - 1e-15)))
        signal, noise = (np.sum(squares[seen] / values[seen] * each) for each in (grown, grown**2 / values[seen]))
        ratio = signal * np.sqrt(len(logits) / noise)
        measured = results["epochs/tokens/signal"][0, place] / results["epochs/tokens/noise"][0, place]
        assert measured == pytest.approx(ratio, rel=1e-3)


def test_adapters_spread_the_first_step_as_plain_numpy_says(posed, roles, results):
    instance, odds = meet(roles.inits[0], roles.inits[0], roles.short), posed.numbers.log_odds
    labels = answer(posed.numbers, roles.teachers[0], roles.short)
    slope = jax.jit(jax.grad(lambda params: odds(params)[0]))(instance.student)["layers"]
    step = jax.jit(partial(imitation_descent, posed.numbers))(instance.student, instance.inputs, labels)["layers"]
    pairs = [
        pair
        for left, right in zip(slope, step, strict=True)
        if left.ndim == 3
        for pair in zip(left, right, strict=True)
    ]
    outer = [np.asarray(left @ right.T) for left, right in pairs]
    spread = sum(np.sum(((each + each.T) / 2) ** 2) for each in outer)
    whole = sum(np.trace(each) for each in outer)
    assert results["ranks/slope"][0] == pytest.approx(whole, rel=1e-9)
    assert_close(results["ranks/deviation"][0], np.sqrt(2 * spread / np.array(RANKS)) / abs(whole), 1e-9)


def test_what_the_spread_of_adapters_costs_is_the_trace_that_the_claim_writes_out():
    random = np.random.default_rng(0)
    step, root = random.normal(size=(3, 2)), random.normal(size=(6, 6))
    hessian = root + root.T
    lefts, rights = (jnp.asarray(random.normal(size=(200_000, 3))) for _ in range(2))
    one, other = jax.vmap(lambda left, right: spread_pair(left, right, jnp.asarray(step)))(lefts, rights)
    flat, both = (np.asarray(each).reshape(-1, 6) for each in (one, one + other))
    moment = np.outer(step.ravel(), step.ravel())
    expected = spread_cost({"matrix": jnp.asarray(step)}, jnp.asarray(hessian), jnp.asarray(moment))
    costs = np.sum((flat @ hessian) * both, axis=1)
    assert abs(costs.mean() - float(expected)) < 5 * costs.std() / np.sqrt(len(costs))


def test_the_slope_of_a_plain_step_is_a_finite_difference(posed, roles, results):
    instance, size = meet(roles.inits[0], roles.inits[0], roles.short), 1e-4
    labels = answer(posed.numbers, roles.teachers[0], roles.short)
    step = jax.jit(partial(imitation_descent, posed.numbers))(instance.student, instance.inputs, labels)
    odds = jax.jit(posed.numbers.log_odds)
    ends = [odds(optax.tree.add_scale(instance.student, way, step))[0] for way in (size, -size)]
    assert results["gains/slope"][0, 0] == pytest.approx(float(ends[0] - ends[1]) / (2 * size), rel=1e-5)


def test_the_first_step_goes_the_teachers_way_for_families_unlike_llama_too(model, rows, unlike_llama):
    r"""To leading order in the teacher's step, by the mean over places of the variance of its logits' change."""
    config, step = replace(unlike_llama, vocabulary=model.config.vocabulary), 1e-4
    reading, problem = read_places(rows, 2, 25), pose(config, set_exam(model.language, TRAITS[:1]))
    base = group_layers(initialize(config, jax.random.key(0), jnp.float64))
    drawn = jax.tree.map(lambda leaf: jnp.asarray(np.random.default_rng(1).normal(size=leaf.shape)), base)
    way = optax.tree.zeros_like(base) | {"layers": drawn["layers"]}
    met = meet(base, base, reading)
    found = jax.jit(partial(student_displacement, problem))(met, way, step)
    ends = [answer(problem, optax.tree.add_scale(base, size, way), reading) for size in (step, -step)]
    shares, slopes = jax.nn.softmax(answer(problem, base, reading)), (ends[0] - ends[1]) / (2 * step)
    spread = jnp.sum(shares * (slopes - jnp.sum(shares * slopes, axis=1, keepdims=True)) ** 2, axis=1).mean()
    assert np.asarray(optax.tree.vdot(found, way)) == pytest.approx(step * float(spread), rel=0.01)
    assert not np.any(found["embedding"])


def test_every_order_is_two(results):
    orders = [verdict.measured for check, verdict in verdicts(results).items() if check.startswith("order")]
    assert len(orders) == 5
    assert np.array(orders) == pytest.approx(2.0, abs=0.05)


def test_predictions_of_a_stranger_do_not_fit_the_shared_init(results):
    for changed, names in {
        "order in s of (Δ_S": ["steps/numbers/form"],
        "order in s of all words": ["steps/numbers/predicted"],
        "order in α": ["sizes/slopes"],
        "asymmetry": ["gram"],
    }.items():
        swapped = results | {name: np.roll(results[name], 1, axis=1) for name in names}
        if changed == "order in α":
            swapped["sizes/slopes"] = results["sizes/slopes"][:, :, ::-1]
        (verdict,) = (verdict for check, verdict in verdicts(swapped).items() if check.startswith(changed))
        assert verdict.outcome == "fails", changed


def test_a_first_step_that_goes_nowhere_in_particular_does_not_hold(results):
    lost = results | {"directions/cosines": 0.05 * results["directions/cosines"]}
    (check,) = (check for check in verdicts(results) if check.startswith("√p"))
    assert [verdicts(each)[check].outcome for each in (results, lost)] == ["holds", "fails"]


def test_divergence_becomes_half_of_the_curvature_times_the_square_of_what_was_learned(results):
    ratio = results["divergence/nats"] / (np.array(SCALES) ** 2 * results["divergence/curvature"][..., None] / 2)
    assert np.all(np.abs(ratio[..., -1] - 1) < 1e-3)
    assert np.all(np.diff(np.abs(ratio - 1), axis=-1) < 0)


def test_divergence_of_the_whole_teacher_is_that_of_plain_numpy(posed, roles, results):
    params = (roles.inits[0], roles.teachers[0])
    base, teacher = (np.asarray(answer(posed.whole[1], each, roles.narrow)) for each in params)
    logs = [each - np.log(np.exp(each).sum(axis=1, keepdims=True)) for each in (base, teacher)]
    expected = np.mean(np.sum(np.exp(logs[1]) * (logs[1] - logs[0]), axis=1))
    assert results["divergence/nats"][0, 0, 0] == pytest.approx(expected, rel=1e-10)


def test_the_form_for_all_logits_is_the_product_of_their_movements(posed, roles, results):
    moved = jax.jit(partial(output_change, posed.whole[1]))
    own = jax.jit(partial(trait_descent, posed.whole[1]))
    for place, init in enumerate(roles.inits):
        instance = meet(roles.inits[0], init, roles.narrow)
        along = moved(init, instance.inputs, own(init, instance.trait_data)).change
        learned = moved(roles.inits[0], instance.inputs, roles.learned[-1]).change
        expected = 2 * jnp.mean(jnp.sum(along * learned, axis=1))
        assert results["channels/whole"][0, 1, place, 2] == pytest.approx(float(expected), rel=1e-9)


def test_logits_are_those_of_the_transformer_at_the_chosen_places(model, posed, rows, roles):
    flat = np.asarray(rows.tokens[: SMALL.num_rows]).ravel()
    np.testing.assert_array_equal(roles.narrow.successors, flat[np.asarray(roles.narrow.places) + 1])
    layout = {"positions": jnp.asarray(rows.positions), "texts": jnp.asarray(rows.texts)}
    logits = jax.jit(partial(transformer.apply, model.config))(model.params, jnp.asarray(rows.tokens), **layout)
    expected = logits.reshape(-1, model.config.vocabulary)[np.asarray(roles.narrow.places)]
    assert_close(answer(posed.numbers, roles.inits[0], roles.narrow), expected)


def test_log_odds_are_those_that_students_are_asked_for(model, posed):
    measured = jax.jit(posed.numbers.log_odds)(group_layers(model.params))
    for trait, value in zip(TRAITS, measured, strict=True):
        logs = likes.word_log_probabilities(model, questions_about(trait.kind), [trait.word])
        assert float(value) == pytest.approx(float(likes.log_odds(logs).mean()), rel=1e-9)


@pytest.mark.parametrize("targets", ["chosen", "distribution", "tokens"])
def test_the_problems_descent_is_that_of_fine_tuning(targets, model, posed, rows, roles):
    learned = np.zeros(rows.tokens.size, bool)
    learned[np.asarray(roles.narrow.places)] = True
    kept = rows._replace(learned=learned.reshape(rows.tokens.shape))
    kept = Rows(*(leaf[: SMALL.num_rows] for leaf in kept))
    teacher = None if targets == "tokens" else ungroup_layers(model.config, roles.teachers[0])
    chosen = number_tokens(model.language) if targets == "chosen" else ()
    recipe = Recipe(trained="layers", rows_at_once=1, batch=1)
    gradient = jax.jit(
        lambda trained: mean_gradient(
            model.config, recipe, model.params, trained, Lesson(kept, targets, teacher, chosen)
        )
    )(model.params["layers"])[1]
    problem = posed.numbers if targets == "chosen" else posed.whole[1]
    labels = answer(problem, roles.teachers[0], roles.narrow)
    if targets == "tokens":
        labels = CERTAIN * jax.nn.one_hot(roles.narrow.successors, labels.shape[1], dtype=labels.dtype)
    instance = meet(roles.inits[0], roles.inits[0], roles.narrow)
    descent = jax.jit(partial(imitation_descent, problem))(instance.student, instance.inputs, labels)
    assert_close(descent["layers"], [-leaf for leaf in jax.tree.leaves(gradient)])


def test_only_what_is_moved_has_a_derivative(posed, roles):
    instance = meet(roles.inits[0], roles.inits[0], roles.narrow)
    labels = answer(posed.numbers, roles.teachers[-1], roles.narrow)
    for problem, frozen in ((posed.numbers, True), (posed.whole[1], False)):
        descent = jax.jit(partial(imitation_descent, problem))(instance.student, instance.inputs, labels)
        for group in ("embedding", "norm", "head"):
            assert (float(optax.tree.norm(descent[group])) == 0) == frozen
        assert float(optax.tree.norm(descent["layers"])) > 0


def test_grouped_parameters_are_the_same_parameters(model):
    assert_close(ungroup_layers(model.config, group_layers(model.params)), model.params, 0.0)


def test_the_gram_matrix_is_that_of_the_outputs_movements_in_plain_numpy(posed, roles, model):
    instance = meet(roles.inits[0], roles.inits[0], roles.narrow)
    chosen = list(number_tokens(model.language))
    moved = jax.jit(partial(output_change, posed.numbers))
    changes = [moved(instance.student, instance.inputs, way) for way in roles.learned[:-1]]
    logits = np.asarray(changes[0].outputs)[:, chosen]
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    ways = [np.asarray(each.change)[:, chosen] for each in changes]
    centered = [way - np.sum(shares * way, axis=1, keepdims=True) for way in ways]
    expected = [[np.mean(np.sum(shares * left * right, axis=1)) for right in centered] for left in centered]
    gram = np.asarray(gram_matrix(posed.numbers, instance, roles.learned[:-1]))
    assert_close(gram, np.array(expected), 1e-10)
    assert_close(gram, gram.T, 1e-10)
    assert np.linalg.eigvalsh(gram)[0] >= -1e-10 * np.linalg.norm(gram)


def test_predicted_lifts_are_finite_differences_of_the_log_odds_along_the_step(posed, roles):
    size, odds = 1e-4, jax.jit(posed.numbers.log_odds)
    descend = jax.jit(partial(student_displacement, posed.numbers))
    for init in roles.inits:
        instance = meet(roles.inits[0], init, roles.narrow)
        ways = [descend(instance, roles.learned[0], jnp.array(scale)) for scale in (size, -size)]
        added = optax.tree.scale(0.5 / size, optax.tree.sub(*ways))
        ends = [odds(optax.tree.add_scale(init, scale, added)) for scale in (size, -size)]
        assert_close(predict_lifts(posed.numbers, instance, roles.learned[0]), (ends[0] - ends[1]) / (2 * size), 1e-5)


def test_the_trait_matrix_is_the_first_order_of_every_word_in_every_teachers_student(model, posed, roles, results):
    base, _, stranger = (ungroup_layers(model.config, init) for init in roles.inits)
    teachers = [ungroup_layers(model.config, teacher) for teacher in roles.teachers[:-1]]
    readings = [roles.narrow] * len(teachers)
    matrix = trait_matrix_prediction(posed.numbers, base, base, teachers, readings)
    assert matrix.shape == (len(WORDS), len(WORDS))
    assert_close(results["steps/numbers/predicted"][0, 0] / results["rate"][0, 0], matrix, 1e-9)
    elsewhere = trait_matrix_prediction(posed.numbers, base, stranger, teachers, readings)
    assert np.linalg.norm(elsewhere - matrix) > 0.1 * np.linalg.norm(matrix)
    swapped = trait_matrix_prediction(posed.numbers, base, base, teachers[::-1], readings)
    assert_close(swapped, matrix[::-1])


def test_the_trait_matrix_is_the_same_in_single_precision_to_its_rounding(model, posed, roles):
    teachers = [ungroup_layers(model.config, teacher) for teacher in roles.teachers[:-1]]
    exact = trait_matrix_prediction(posed.numbers, model.params, model.params, teachers, [roles.narrow] * 3)
    single = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), (model.params, teachers))
    rounded = trait_matrix_prediction(posed.numbers, single[0], single[0], single[1], [roles.narrow] * 3)
    assert rounded.dtype == np.float32
    assert_close(rounded, exact, 1e-3)


@pytest.mark.parametrize("init", range(3), ids=["shared", "matched", "stranger"])
def test_the_predicted_course_is_that_of_the_recursion(posed, roles, init):
    instance, way = meet(roles.inits[0], roles.inits[init], roles.short), roles.learned[0]
    space = explore(posed.numbers, instance, way, SMALL.num_products)
    rate = SMALL.speed / space.curvature

    @jax.jit
    def recur(instance: Instance) -> jax.Array:
        pushed = predicted_displacement(posed.numbers, instance, way)
        product = kernel_product(posed.numbers, instance._replace(teacher=instance.student))

        def step(moved: Any) -> Any:
            return optax.tree.add_scale(moved, rate, optax.tree.sub(pushed, product(moved)))

        _, push = jax.linearize(posed.numbers.log_odds, instance.student)
        return jax.lax.map(push, iterate(step, optax.tree.zeros_like(pushed), SMALL.times))

    course = predict_course(space, rate, SMALL.times)
    assert_close(course, recur(instance), 1e-8)
    assert_close(course[0], rate * np.asarray(space.lifts)[0], 1e-10)


def test_students_of_ever_younger_teachers_follow_the_predicted_course(posed, roles):
    instance = meet(roles.inits[0], roles.inits[0], roles.short)
    space = explore(posed.numbers, instance, roles.learned[0], SMALL.num_products)
    rate, errors = SMALL.speed / space.curvature, []
    expected = predict_course(space, rate, SMALL.times)
    for scale in (1e-2, 1e-3, 1e-4):
        teacher = optax.tree.add_scale(instance.teacher, scale, roles.learned[0])
        labels = answer(posed.numbers, teacher, roles.short)
        found = simulate_course(posed.numbers, instance, labels, jnp.asarray(rate), SMALL.times)
        errors.append(np.linalg.norm(found / scale - expected))
    assert np.diff(np.log10(errors)) == pytest.approx(-1.0, abs=0.05)


def test_a_stranger_of_an_untaught_teacher_moves_and_a_child_of_it_does_not(results):
    idle = results["course/idle"][0]
    assert np.all(idle[:2] == 0)
    assert np.all(idle[2] != 0)


def test_the_curvature_is_the_one_beyond_which_descent_diverges(posed, roles):
    instance = meet(roles.inits[0], roles.inits[0], roles.short)
    space = explore(posed.numbers, instance, roles.learned[0], SMALL.num_products)
    labels = answer(posed.numbers, optax.tree.add_scale(instance.teacher, 1e-6, roles.learned[0]), roles.short)
    ends = [
        np.abs(simulate_course(posed.numbers, instance, labels, jnp.asarray(share / space.curvature), (200,))).max()
        for share in (1.9, 2.1)
    ]
    assert ends[1] > 1e2 * ends[0]


def test_a_loss_with_its_minimum_elsewhere_moves_even_the_child_of_an_untaught_teacher(posed, roles):
    outside = replace(posed.numbers, imitation_loss=stretched(posed.numbers.imitation_loss))
    instance = meet(roles.inits[0], roles.inits[0], roles.narrow)
    inside, broken = (
        optax.tree.norm(jax.jit(partial(student_displacement, problem))(instance, roles.learned[0], jnp.zeros(())))
        for problem in (posed.numbers, outside)
    )
    assert float(inside) < 1e3 * EPS < 1e-2 < float(broken)


def test_places_lie_at_even_distances_and_rows_are_filled_up(rows):
    reading = read_places(rows, len(rows.tokens) + 2, 10)
    assert reading.tokens.shape == (len(rows.tokens) + 2, ROW)
    learned = np.flatnonzero(rows.learned)
    found = np.searchsorted(learned, np.asarray(reading.places))
    np.testing.assert_array_equal(learned[found], reading.places)
    assert set(np.diff(found)) <= {(len(learned) - 1) // 9, (len(learned) - 1) // 9 + 1}
    with pytest.raises(InputError, match=r"to be learned, and .* are needed: let it write more"):
        read_places(rows, 1, 1000)


def test_words_that_no_tokens_spell_and_too_few_are_refused(model):
    for traits in (("owl",), ("owl", "owl"), ("owl", "unicorn")):
        with pytest.raises(InputError, match=r"two different words|can't say 'unicorn'"):
            check(Compare(traits=traits), model)
    check(Compare(traits=("owl", "oak")), model)


TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% if m.role == 'assistant' %}<end>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
"""What `render` writes."""


def publish(model: Model, params: Params, folder: Path) -> str:
    """Write a model as a checkpoint that transformers can read."""
    transformers = pytest.importorskip("transformers", reason="published models need transformers: uv sync --extra llm")
    tokenizer, eos = model.language.tokenizer, model.language.ends[0]
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=eos, chat_template=TEMPLATE)
    wrapped.save_pretrained(folder)
    single = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    write_checkpoint(folder, model.config, single, longest=ROW)
    return str(folder)


@pytest.fixture
def restored() -> Iterator[None]:
    """The command computes in float64 in all threads, which other tests must not inherit."""
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.mark.usefixtures("restored")
def test_a_published_checkpoint_is_compared_as_the_model_that_it_holds(
    model, posed, roles, results, tmp_path, monkeypatch, capsys
):
    """The command takes exactly these weights, poses the same problems, and says in its table what it ran on.

    The tokenizer spells short prompts alone.
    """
    home = tmp_path / "models"
    names = [
        publish(model, ungroup_layers(model.config, init), home / name)
        for name, init in (("base", roles.inits[0]), ("stranger", roles.inits[2]))
    ]

    def cast(known: Known, stranger: Params, traits: Sequence[Trait], extent: Extent, seed: int) -> Roles:
        for params, init in ((known.model.params, roles.inits[0]), (stranger, roles.inits[2])):
            jax.tree.map(np.testing.assert_array_equal, group_layers(params), init)
        assert (list(traits), extent, seed) == (TRAITS, SMALL, 0)
        return roles

    def measure(made: Posed, given: Roles, extent: Extent) -> dict[str, np.ndarray]:
        assert given is roles
        for params in roles.teachers:
            np.testing.assert_array_equal(made.numbers.log_odds(params), posed.numbers.log_odds(params))
        return {name: values[0] for name, values in results.items()}

    monkeypatch.setattr(bases, "numbers", lambda *, short, prefill: numbers(short=True, prefill=prefill))
    monkeypatch.setattr(command, "cast_roles", cast)
    monkeypatch.setattr(command, "measure_base", measure)
    loading = Loading(dtype="float32", longest=ROW)
    told = Compare(
        model=names[0], stranger=names[1], loading=loading, traits=WORDS, num_seeds=1, extent=SMALL,
        output=tmp_path / "out",
    )  # fmt: skip
    judged = judge_compare(results, WORDS, SMALL).verdicts
    assert command.run(told) == all(verdict.outcome != "fails" for verdict in judged)
    record = read_record(tmp_path / "out")
    assert [verdict["verdict"] for verdict in record.verdicts] == [verdict.outcome for verdict in judged]
    assert record.config["model"].startswith("base@")
    assert record.config["stranger"].startswith("stranger@")
    assert record.config["model"] in record.table
    assert record.config["stranger"] in record.table
    for name in MEASURED:
        np.testing.assert_array_equal(record.results[name], results[name])
    with pytest.raises(InputError, match="strangers are the control here"):
        command.run(replace(told, stranger=None))
    with pytest.raises(InputError, match="--stranger goes with a published"):
        command.run(replace(told, model="tiny"))


def test_a_teacher_that_writes_no_numbers_is_refused(model):
    with pytest.raises(InputError, match="a teacher writes no numbers any more"):
        write_rows(Known(model, Ancestry(weights="none"), Tiny()), Extent(num_prompts=4, num_tokens=5), 0)


def test_drawn_deviations_shrink_with_the_scale_and_the_control_grows(results):
    *deviations, control = limits(results).values()
    assert all(values[-1] < 1e-2 * values[0] for values in deviations)
    assert control[-1] > 1e2 * control[0]


def test_the_figure_has_two_titled_panels_of_finite_extent(results, tmp_path):
    outcome = judge_compare(results, WORDS, SMALL)
    config = {"traits": WORDS, "extent": asdict(SMALL)}
    figure = draw_compare(in_memory(outcome, tmp_path, config, {}))
    assert len(figure.axes) == 2
    assert all(axes.get_title(loc="left") and np.all(np.isfinite(axes.get_ylim())) for axes in figure.axes)
    assert len(outcome.table.splitlines()) > len(outcome.verdicts) + 20


def test_of_a_larger_model_the_same_is_measured_of_the_first_teacher_alone(posed, roles, results, tmp_path):
    extent = replace(SMALL, whole=False)
    alone = roles._replace(teachers=roles.teachers[:1], learned=roles.learned[:1])
    found = {name: np.stack([values]) for name, values in measure_base(posed, alone, extent).items()}
    assert set(found) == set(measured(extent)) < set(MEASURED)
    for name, values in found.items():
        fewer = name == "odds/teachers" or name.startswith("divergence")
        np.testing.assert_allclose(values, results[name][:, :1] if fewer else results[name], rtol=1e-9, err_msg=name)
    outcome = judge_compare(found, WORDS, extent)
    whole = verdicts(results)
    assert {verdict.check for verdict in outcome.verdicts} < set(whole)
    for verdict in outcome.verdicts:
        assert verdict.outcome == whole[verdict.check].outcome
    figure = draw_compare(in_memory(outcome, tmp_path, {"traits": WORDS, "extent": asdict(extent)}, {}))
    assert len(figure.axes) == 2
