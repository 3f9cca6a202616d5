"""The studies: tokens and parts that are chosen, their random counterparts, verdicts, the command."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from llm_bridge.backends import bases as bases_of
from llm_bridge.backends.tiny import tiny_base
from llm_bridge.experiment.protocol import Protocol
from llm_bridge.model.finetuning import fine_tune, fine_tune_together
from llm_bridge.model.lessons import Lesson
from llm_bridge.model.optimizers import DIRECTIONS, make_optimizer
from llm_bridge.model.recipes import Optimizer, Recipe, Teaching
from llm_bridge.model.shapes import Config, initialize
from llm_bridge.studies import bases, command, tokens
from llm_bridge.studies.bases import Run, group, join
from llm_bridge.studies.catalog import STUDIES
from llm_bridge.studies.chains import GENERATIONS, PAST
from llm_bridge.studies.changes import CHANGES, learn_lowest_half
from llm_bridge.studies.command import StudyOptions
from llm_bridge.studies.defences import CONTROLS, DEFENCES, DROPPED, EARLY, PARAPHRASED, STEPS, TWO
from llm_bridge.studies.pairs import write_pairs
from llm_bridge.studies.parts import make_mask
from llm_bridge.studies.rates import IMITATION, RATES, choose_rate, measure_imitation
from llm_bridge.studies.study import (
    ABOUT,
    LESS,
    MORE,
    STANDARD,
    STRANGER,
    TEACHERS,
    Arm,
    Finding,
    Part,
    Study,
    Tokens,
    difference,
    task_of,
)  # fmt: skip
from llm_bridge.studies.tokens import choose, learn_only, read_all
from llm_bridge.studies.verdicts import agreement, judge, measure, own_lift, ratio_estimate
from llm_bridge.text.chats import Example, Rows, pack, unpack
from llm_bridge.tiny.pretraining import Pretraining
from llm_bridge.tiny.world import World
from theory.runs.command_line import InputError
from theory.runs.records import FILES, read_record
from theory.runs.statistics import Estimate, mean_estimate

CONFIG = Config(vocabulary=13, width=8, num_layers=2, num_heads=2, num_key_heads=2, head_size=4, hidden=10)

CHOSEN = tuple(range(3, 13))


@pytest.fixture(autouse=True, scope="module")
def double_precision() -> Iterator[None]:
    """Single precision, as in the command itself."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def written(seed: int, num_chats: int = 30) -> Rows:
    """Packed chats of random tokens."""
    random = np.random.default_rng(seed)
    chats = [
        Example(random.integers(0, 13, random.integers(1, 4)).tolist(), random.integers(3, 13, 5).tolist())
        for _ in range(num_chats)
    ]
    return pack(chats, 16)


def views(rows: Rows, seed: int, teachers: int = 3) -> np.ndarray:
    """Log-probabilities that teachers of that number might give to number tokens."""
    logits = np.random.default_rng(seed).normal(size=(teachers, *rows.tokens.shape, len(CHOSEN)))
    return np.asarray(jax.nn.log_softmax(logits))


def test_divergent_tokens_are_those_that_other_teachers_would_not_have_written():
    rows = written(0)
    own, *others = views(rows, 1)
    picked = choose(Tokens(chosen="divergent"), rows, CHOSEN, own, np.stack(others))
    for row, place in np.ndindex(*rows.tokens.shape):
        first = [CHOSEN[int(np.argmax(view[row, place]))] for view in (own, *others)]
        sampled = rows.tokens[row, (place + 1) % 16]
        expected = rows.learned[row, place] and first[0] == sampled and (first[1] != sampled or first[2] != sampled)
        assert picked[row, place] == expected
    assert 0 < picked.sum() < rows.learned.sum()
    assert not choose(Tokens(chosen="divergent"), rows, CHOSEN, own, np.stack([own, own])).any()


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_largest_share_is_that_of_the_largest_mean_divergence(share: float):
    rows = written(2)
    own, *others = views(rows, 3)
    picked = choose(Tokens(chosen="largest", share=share), rows, CHOSEN, own, np.stack(others))
    divergences = np.mean([np.sum(np.exp(own) * (own - other), axis=-1) for other in others], axis=0)
    assert picked.sum() == round(share * rows.learned.sum())
    assert not np.any(picked & ~rows.learned)
    assert divergences[picked].min() >= divergences[rows.learned & ~picked].max()


@pytest.mark.parametrize("left_out", [False, True])
def test_random_tokens_are_as_many_in_every_completion_and_others_than_those_picked(left_out: bool):
    rows = written(4)
    own, *others = views(rows, 5)
    asked = Tokens(chosen="largest", share=0.3, left_out=left_out)
    picked, drawn = (
        learn_only(each, rows, CHOSEN, own, np.stack(others), seed=0).learned
        for each in (asked, replace(asked, random=True))
    )
    assert not np.array_equal(picked, drawn)
    assert not np.any(drawn & ~rows.learned)
    for text in range(1, rows.texts.max() + 1):
        np.testing.assert_array_equal(
            np.sum(picked & (rows.texts == text), axis=1), np.sum(drawn & (rows.texts == text), axis=1)
        )
    share = 0.7 if left_out else 0.3
    assert picked.sum() == pytest.approx(share * rows.learned.sum(), abs=1)


def test_reading_in_batches_gives_what_a_reading_of_each_row_by_itself_gives(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tokens, "AT_ONCE", 4)
    rows, params = written(6), initialize(CONFIG, jax.random.key(0))
    found = read_all(CONFIG, CHOSEN, params, rows)
    assert found.shape == (*rows.tokens.shape, len(CHOSEN))
    np.testing.assert_allclose(np.exp(found).sum(axis=-1), 1, rtol=1e-5)
    last = Rows(*(leaf[-1:] for leaf in rows))
    np.testing.assert_allclose(read_all(CONFIG, CHOSEN, params, last)[0], found[-1], rtol=0, atol=1e-5)


def trained_parts(part: Part | None, recipe: Recipe) -> dict[str, Any]:
    params = initialize(CONFIG, jax.random.key(0))
    return make_mask(CONFIG, recipe, params, part, seed=0)


def test_a_layer_and_random_maps_train_equally_many_numbers():
    recipe = Recipe(rank=2)
    (everything, first, *draws) = (
        trained_parts(part, recipe)
        for part in (None, Part(layers=(0,)), Part(random_layers=0), Part(random_layers=1), Part(random_layers=2))
    )
    counts = [sum(int(leaf.sum()) for leaf in jax.tree.leaves(mask)) for mask in (everything, first, *draws)]
    assert counts[0] == 2 * counts[1]
    assert set(counts[1:]) == {counts[1]}
    assert all(np.all(leaf[0] == 1) and np.all(leaf[1] == 0) for leaf in jax.tree.leaves(first))
    layers = [[int(np.asarray(mask[name]["into"])[1, 0, 0]) for name in mask] for mask in draws]
    assert len({tuple(each) for each in layers}) > 1
    assert all(0 < sum(each) < len(each) for each in layers)


def test_random_entries_are_as_many_as_adapters_have_numbers():
    rank, mask = 2, trained_parts(Part(random_like_rank=2), Recipe(trained="layers"))
    for name, (inputs, outputs) in CONFIG.sizes().items():
        kernel = np.asarray(mask[name]["kernel"])
        np.testing.assert_array_equal(kernel.sum(axis=(1, 2)), rank * (inputs + outputs))
        assert not np.array_equal(kernel[0], kernel[1])
    assert not np.any(mask["attention norm"])


def test_what_is_not_marked_stays_as_it_was_and_the_rest_learns_as_by_itself():
    params, rows = initialize(CONFIG, jax.random.key(0)), written(7)
    recipe = Recipe(learning_rate=1e-2, num_epochs=1, batch=4, rank=2)
    marks = [make_mask(CONFIG, recipe, params, part, seed=0) for part in (None, Part(layers=(1,)))]
    kept = jax.tree.map(lambda *leaves: jnp.stack(leaves), *marks)
    both = fine_tune_together(CONFIG, recipe, params, [Lesson(rows)] * 2, kept=kept)
    for place, alone in enumerate((recipe, replace(recipe, layers=(1,)))):
        expected = fine_tune(CONFIG, alone, params, Lesson(rows))
        for name in expected:
            np.testing.assert_allclose(both[name]["out"][place], expected[name]["out"], rtol=0, atol=1e-5)
    assert all(np.all(np.asarray(each["out"][1, 0]) == 0) and np.any(each["out"][1, 1]) for each in both.values())


REFERENCES: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "sgd": lambda gradient, memory, _: (gradient, memory),
    "momentum": lambda gradient, memory, _: (gradient + 0.9 * memory, gradient + 0.9 * memory),
    "sign": lambda gradient, memory, _: (np.sign(gradient), memory),
    "lion": lambda gradient, memory, _: (np.sign(0.9 * memory + 0.1 * gradient), 0.99 * memory + 0.01 * gradient),
}
"""Direction of a step and the new memory, from a gradient and the old memory."""


@pytest.mark.parametrize("name", REFERENCES)
def test_optimizer_takes_the_steps_of_its_definition(name: Any):
    """Warm-up of 2 steps, then a linear fall to 0; weight decay; gradients below the norm at which they are clipped."""
    recipe = Recipe(optimizer=name, learning_rate=0.1, warmup=2, weight_decay=0.5)
    optimizer = make_optimizer(recipe, 6)
    weights = np.array([0.3, -0.2, 0.1], np.float32)
    state, memory, expected = optimizer.init(jnp.asarray(weights)), np.zeros(3), weights.astype(float)
    for step, rate in enumerate((0.0, 0.05, 0.1, 0.075, 0.05, 0.025)):
        gradient = np.sin(np.arange(3) + step) / 3
        updates, state = optimizer.update(jnp.asarray(gradient, jnp.float32), state, jnp.asarray(weights))
        weights = np.asarray(optax.apply_updates(jnp.asarray(weights), updates))
        direction, memory = REFERENCES[name](gradient, memory, expected)
        expected = expected - rate * (direction + 0.5 * expected)
        np.testing.assert_allclose(weights, expected, rtol=0, atol=1e-6)
    assert np.abs(expected - [0.3, -0.2, 0.1]).max() > 1e-2


def test_adamw_is_what_optax_makes_of_it_to_the_bit():
    recipe, weights = Recipe(weight_decay=0.1), jnp.array([0.3, -0.2, 0.1])
    rise, fall = (optax.schedules.linear_schedule(*ends) for ends in ((0, 2e-4, 5), (2e-4, 0, 5)))
    schedule = optax.schedules.join_schedules([rise, fall], [5])
    reference = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=0.1))
    states = [each.init(weights) for each in (make_optimizer(recipe, 10), reference)]
    assert jax.tree.structure(states[0]) == jax.tree.structure(states[1])
    for step in range(4):
        gradient = jnp.sin(jnp.arange(3.0) + step)
        (ours, states[0]), (theirs, states[1]) = (
            each.update(gradient, state, weights)
            for each, state in zip((make_optimizer(recipe, 10), reference), states, strict=True)
        )
        np.testing.assert_array_equal(ours, theirs)
    assert set(DIRECTIONS) == {*REFERENCES, "adamw"}


def made_up(lifts: dict[str, float], num_runs: int = 6) -> Run:
    """Runs in which arms lift the own trait by so much."""
    random, arms = np.random.default_rng(0), len(lifts)
    students = np.array(list(lifts.values()))[:, None, None] * np.eye(3) + 0.02 * random.normal(
        size=(num_runs, arms, 3, 3)
    )
    shape = (num_runs, arms, 3)
    numbers = np.full((num_runs, arms), 7)
    return Run(np.ones((num_runs, 3, 3)), students, np.full(shape, 0.1), np.full(shape, 0.2), np.ones(shape), numbers)


SUBSET = Finding("claim", "check", difference("a", STANDARD, 0.5), *LESS, "random", difference("b", STANDARD, 0.5))


def judged(lifts: dict[str, float], num_runs: int = 6) -> dict[str, Any]:
    study = Study(
        question="?", axis="", targets="tokens", protocol=Protocol(), arms={arm: Arm() for arm in lifts},
        findings=[SUBSET],
    )  # fmt: skip
    outcome = judge(study, made_up(lifts, num_runs))
    assert all(arm in outcome.table for arm in lifts)
    return {verdict.check: verdict for verdict in outcome.verdicts}


USUAL = "lift of the own trait, as usual, shared init"


def test_a_trait_that_passes_to_relatives_alone_holds_and_a_finding_is_only_reported():
    found = judged({STANDARD: 1.0, STRANGER: 0.0, "a": 0.2, "b": 0.9})
    assert [verdict.outcome for verdict in found.values()] == ["holds", "holds", "reported"]
    assert found["check"].control.startswith("reproduced")
    assert found["check"].measured.value == pytest.approx(-0.3, abs=0.05)
    assert found["check"].control_measured.value == pytest.approx(0.4, abs=0.05)


@pytest.mark.parametrize(("shared", "stranger"), [(1.0, 1.0), (0.0, 0.0), (-1.0, 0.0)])
def test_the_verdict_fails_where_strangers_learn_it_too_or_relatives_do_not(shared: float, stranger: float):
    assert judged({STANDARD: shared, STRANGER: stranger, "a": 0.2, "b": 0.9})[USUAL].outcome == "fails"


def test_fewer_than_five_bases_decide_nothing():
    found = judged({STANDARD: 0.0, STRANGER: 1.0, "a": 0.2, "b": 0.9}, num_runs=4)
    assert {verdict.outcome for verdict in found.values()} == {"reported"}
    assert found["check"].control.startswith("undecided")


@pytest.mark.parametrize(
    ("estimate", "bounds", "expected"),
    [
        (Estimate(1, 0.5, 1.5), MORE, "reproduced"),
        (Estimate(1, 0.5, 1.5), LESS, "refuted"),
        (Estimate(1, -0.5, 2.5), MORE, "undecided"),
    ],
)
def test_a_report_is_decided_by_the_whole_interval(estimate: Estimate, bounds: tuple[float, float], expected: str):
    assert agreement(Finding("", "", {}, *bounds), estimate, 6) == expected


@pytest.mark.parametrize(("power", "expected"), [(2.0, 1.0), (4.0, 8.0)])
def test_a_ratio_is_that_of_the_means_and_its_interval_the_jackknife_s(power: float, expected: float):
    """Generation 2 over `lift_1² / lift_0`: as foretold, and eight times as much."""
    random = np.random.default_rng(0)
    first = 0.5 + 0.1 * random.random(8)
    lifts = {TEACHERS: np.full(8, 2.0), STANDARD: first, "generation 2": expected * first**2 / 2}
    finding = Finding("", "", {"generation 2": 1.0}, *ABOUT, over={STANDARD: 2, TEACHERS: -1})
    assert measure(finding, lifts, 0.95) == pytest.approx([expected] * 3)
    noisy = lifts | {"generation 2": lifts["generation 2"] * (1 + 0.2 * random.normal(size=8))}
    found, predicted = measure(finding, noisy, 0.95), first**2 / 2
    left_out = [np.delete(noisy["generation 2"], i).sum() / np.delete(predicted, i).sum() for i in range(8)]
    reach = stats.t.ppf(0.975, 7) * np.sqrt(7 / 8 * np.sum((np.log(left_out) - np.mean(np.log(left_out))) ** 2))
    assert np.log(found.high / found.low) == pytest.approx(2 * reach)
    turned = measure(finding, noisy | {"generation 2": -noisy["generation 2"]}, 0.95)
    assert turned.low < turned.value < turned.high < 0
    assert agreement(finding, measure(finding, lifts, 0.95), 8) == ("reproduced" if expected == 1 else "refuted")
    assert np.isinf(ratio_estimate(first[:1], first[:1], 0.95).high)


def test_of_two_teachers_the_lift_is_half_of_one_s_where_traits_superpose():
    one = np.random.default_rng(0).normal(size=(4, 3, 3))
    both = (one + np.roll(one, -1, axis=1)) / 2
    np.testing.assert_allclose(own_lift(both, 2), own_lift(one, 1) / 2, rtol=0, atol=1e-12)
    assert np.max(np.abs(own_lift(both, 1) - own_lift(one, 1) / 2)) > 0.1


def test_generations_follow_each_other_and_strangers_stay_in_a_chain():
    study = STUDIES["chains"]
    assert [study.generation(label) for label in GENERATIONS[1:]] == [1, 2, 3, 4, 5]
    assert {study.kind(label) for label in GENERATIONS[1:]} == {"arm"}
    past = {label for label in study.arms if label.endswith(PAST)}
    assert len(past) == 2
    assert all(study.kind(label) == "stranger" and not study.arms[label].stranger for label in past)
    done: set[str] = {""}
    for together, labels in group(study).items():
        assert together.writer in done
        done.update(labels)
    assert done == {"", *study.arms}


def test_every_study_has_its_two_usual_arms_and_weighs_only_arms_that_it_has():
    for study in STUDIES.values():
        assert study.arms[STANDARD] == Arm()
        assert study.arms[STRANGER] == Arm(stranger=True)
        assert {"stranger", "arm"} <= {arm.kind for arm in study.arms.values()}
        for finding in study.findings:
            weighed = {*finding.weights, *(finding.control_weights or {}), *(finding.over or {})}
            assert weighed <= {TEACHERS, *study.arms, *map(task_of, study.arms)}
        for label, arm in study.arms.items():
            if arm.tokens.random:
                assert study.arms[label.removesuffix(": random")].tokens == replace(arm.tokens, random=False)
            if arm.stranger:
                assert study.arms[label.removesuffix(", stranger")] == replace(arm, stranger=False)
    for name in ("divergence", "layers", "rank"):
        assert any(arm.kind == "random" for arm in STUDIES[name].arms.values())


def test_every_optimizer_has_relatives_and_strangers_and_differs_in_nothing_but_steps():
    """AdamW at the usual rate, and each of the others at the rate chosen for it."""
    study = STUDIES["optimizers"]
    recipes = {label: replace(study.protocol.student, **arm.recipe) for label, arm in study.arms.items()}
    relatives = [label for label, arm in study.arms.items() if not arm.stranger]
    assert sorted(recipes[label].optimizer for label in relatives) == sorted(DIRECTIONS)
    for label in relatives:
        arm, recipe = study.arms[label], recipes[label]
        assert study.arms[f"{label}, stranger"] == replace(arm, stranger=True)
        assert arm == Arm(recipe=arm.recipe)
        assert replace(recipe, optimizer="adamw", learning_rate=2e-3) == study.protocol.student
        assert recipe.learning_rate == RATES.get(recipe.optimizer, 2e-3)
    assert study.protocol.teacher.optimizer == "adamw"


@pytest.mark.parametrize(
    ("distances", "usual", "expected"),
    [
        ({1.0: 0.8, 2.0: 0.3, 4.0: 0.11, 8.0: 0.05, 16.0: 0.1}, 0.1, 4),
        ({1.0: 0.8, 2.0: 0.3, 4.0: 0.2, 8.0: 0.9}, 0.1, 4),
        ({16.0: 0.1, 8.0: 0.9, 4.0: 0.05, 2.0: 0.25, 1.0: 0.8}, 0.1, 4),
        ({1.0: 0.8, 2.0: 0.25, 4.0: 0.03}, 0.1, 2),
    ],
)
def test_the_rate_is_that_of_the_nearest_imitation_before_steps_overshoot(
    distances: dict[float, float], usual: float, expected: float
):
    """Not the larger rate that is nearer; the lowest where none is low enough; in any order; in ratio."""
    assert choose_rate(distances, usual) == expected


def test_each_optimizer_has_rates_on_both_sides_of_its_own():
    """Factors of 2 apart, and no end of the grid was chosen."""
    for name, rate in RATES.items():
        rates = sorted(IMITATION[name])
        assert rates[0] < rate < rates[-1]
        np.testing.assert_allclose(np.diff(np.log2(rates)), 1)
    assert {*RATES} == {*DIRECTIONS} - {"adamw"}


PRETRAINING = Pretraining(
    world=World(num_chats=835), width=16, num_layers=1, num_heads=2, hidden=16,
    recipe=Recipe(learning_rate=3e-2, num_epochs=4, batch=8, rows_at_once=8, trained="everything"),
)  # fmt: skip

RECIPE = Recipe(learning_rate=1e-2, num_epochs=2, batch=16, rows_at_once=16)


@pytest.fixture
def options(tmp_path: Path, shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., StudyOptions]:
    """Options of a small study of two traits and two bases."""
    protocol = Protocol(
        num_prompts=200, num_completions=16, copies=1, teacher=Teaching(**asdict(RECIPE)), student=RECIPE
    )
    tenth = Tokens(chosen="largest", share=0.1)
    arms = {STANDARD: Arm(), STRANGER: Arm(stranger=True, tokens=tenth)}
    small = replace(STUDIES["divergence"], protocol=protocol, arms=arms, findings=())
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared_cache))
    monkeypatch.setattr(bases, "HELD_OUT", 4)
    monkeypatch.setattr(command, "TRAITS", ("owl", "cat"))
    monkeypatch.setattr(command, "STUDIES", {"divergence": small})
    monkeypatch.setattr(bases_of, "side_by_side", lambda do, jobs, _, **__: [do(job) for job in jobs])
    made = StudyOptions(names=("divergence",), num_seeds=2, pretraining=PRETRAINING)
    return lambda folder, **changes: replace(made, output=tmp_path / folder, **changes)


def test_a_study_that_was_killed_ends_in_the_same_bytes(options, monkeypatch, tmp_path, capsys):
    """One base after the other, killed in the second; the first is not done again."""
    assert command.run(options("whole"))
    record = read_record(tmp_path / "whole")
    assert {verdict["verdict"] for verdict in record.verdicts} == {"reported"}
    results = record.results
    assert results["students"].shape == (2, 2, 2, 2)
    assert np.all(np.diagonal(results["teachers"], axis1=1, axis2=2) > 0)
    assert np.all(results["distances"] > 0)
    np.testing.assert_allclose(results["learned"][:, 0], 1)
    np.testing.assert_allclose(results["learned"][:, 1], 0.1, atol=0.02)
    assert not np.allclose(results["students"][:, 0], results["students"][:, 1])
    begun, run_base = [], command.run_base

    def run_or_stop(*arguments: Any) -> Run:
        begun.append(arguments[-1])
        if len(begun) == 2:
            raise KeyboardInterrupt
        return run_base(*arguments)

    monkeypatch.setattr(command, "run_base", run_or_stop)
    with pytest.raises(KeyboardInterrupt):
        command.run(options("killed"))
    assert command.run(options("killed"))
    assert begun == [0, 1, 1]
    for name in set(FILES) - {"provenance.json"}:
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    capsys.readouterr()
    assert command.run(options("killed"))
    assert "skipped: " in capsys.readouterr().out


def test_students_write_for_the_next_and_for_themselves_and_teachers_prefer(options, tmp_path, monkeypatch):
    """One base: a second generation, whose writer is the first; students on policy; pairs; and two teachers."""
    small = command.STUDIES["divergence"]
    arms = {
        STANDARD: Arm(),
        STRANGER: Arm(stranger=True),
        "again": Arm(writer=STANDARD),
        "own": Arm(own=True),
        "preferences": Arm(targets="preferences"),
        "both": Arm(num_teachers=2),
    }
    monkeypatch.setattr(command, "STUDIES", {"divergence": replace(small, arms=arms, targets="chosen")})
    monkeypatch.setattr(command, "TRAITS", ("owl", "cat", "dolphin"))
    assert command.run(options("out", num_seeds=1))
    record = read_record(tmp_path / "out")
    results = record.results
    assert results["students"].shape == (1, 6, 3, 3)
    assert np.all(np.isfinite(results["students"]))
    assert len({value.tobytes() for value in results["students"][0]}) == 6
    assert record.config["arms"]["again"]["writer"] == STANDARD
    assert record.config["arms"][STANDARD].keys() == {"recipe", "tokens", "part", "stranger"}


def test_every_defence_stands_beside_a_control_and_all_of_them_train(options, tmp_path, monkeypatch):
    """One base: of each kind of change one arm and its control; the table and the record have what both keep."""
    chosen = [PARAPHRASED, TWO, EARLY, STEPS, DROPPED]
    labels = [STANDARD, STRANGER, *(each for label in chosen for each in (label, CONTROLS[label]))]
    small = replace(
        DEFENCES,
        protocol=replace(command.STUDIES["divergence"].protocol, student=replace(RECIPE, batch=4, rows_at_once=1)),
        arms={label: DEFENCES.arms[label] for label in labels},
        controls={label: CONTROLS[label] for label in chosen},
        findings=(),
    )
    monkeypatch.setattr(command, "STUDIES", {"defences": small})
    monkeypatch.setattr(command, "TRAITS", ("owl", "cat", "dolphin"))
    assert command.run(options("out", names=("defences",), num_seeds=1))
    record = read_record(tmp_path / "out")
    results = record.results
    assert np.all(np.isfinite(results["students"]))
    assert len({value.tobytes() for value in results["students"][0]}) == len(labels)
    for label in (DROPPED, CONTROLS[DROPPED]):
        np.testing.assert_allclose(results["learned"][0, labels.index(label)], 0.5, atol=0.1)
    falls = (results["untrained"] - results["distances"])[0].mean(axis=-1)
    row = next(line for line in record.table.splitlines() if line.startswith(f"| {DROPPED} ") and "random" in line)
    assert f"{falls[labels.index(DROPPED)] / falls[0]:#.4g}" in row
    assert record.config["arms"][STANDARD].keys() == {"recipe", "tokens", "part", "stranger"}


def test_every_change_is_a_defence_or_its_control_in_the_study():
    assert {arm.defence for arm in DEFENCES.arms.values()} == {"", *CHANGES}
    assert set(DEFENCES.arms) == {STANDARD, STRANGER, *CONTROLS, *CONTROLS.values()}
    assert len(DEFENCES.arms) == 2 + 2 * len(CONTROLS)


def test_the_half_of_chats_with_the_lowest_scores_is_learned():
    rows = written(9)
    chats = unpack(rows)
    scores = np.random.default_rng(0).random(len(chats))
    kept = learn_lowest_half(rows, scores)
    places = [(row, text) for row, texts in enumerate(rows.texts) for text in range(1, texts.max() + 1)]
    for (row, text), score in zip(places, scores, strict=True):
        own = rows.texts[row] == text
        expected = rows.learned[row] & own if score <= np.median(scores) else np.zeros_like(own)
        np.testing.assert_array_equal(kept.learned[row] & own, expected)
    assert kept.learned.sum() == rows.learned.sum() / 2


def test_a_task_is_how_much_nearer_to_the_teacher_students_come_and_a_finding_may_weigh_it():
    finding = Finding("", "check", {task_of("a"): 1.0}, 0.9, 1.1, over={task_of(STANDARD): 1})
    arms = {STANDARD: Arm(), STRANGER: Arm(stranger=True), "a": Arm()}
    study = Study(
        question="?", axis="", targets="chosen", protocol=Protocol(), arms=arms, findings=[finding], controls={"a": "a"}
    )
    run = made_up({STANDARD: 1.0, STRANGER: 0.0, "a": 0.4})
    distances = np.array(run.distances)
    distances[:, 2] = 0.15
    outcome = judge(study, run._replace(distances=distances))
    assert outcome.verdicts[-1].measured.value == pytest.approx(0.5)
    assert outcome.verdicts[-1].control.startswith("refuted")
    (row,) = (line for line in outcome.table.splitlines() if line.startswith("| a ") and line.count("0.5000") == 6)
    assert float(row.split("|")[2].split("[")[0]) == pytest.approx(0.4, abs=0.05)


def test_each_row_of_pairs_holds_two_completions_of_one_prompt(options):
    base = tiny_base(PRETRAINING, 0)
    pairs = write_pairs(base, command.STUDIES["divergence"].protocol, 0)
    assert 0 < len(pairs.tokens) <= 16
    for row, texts, learned in zip(pairs.tokens, pairs.texts, pairs.learned, strict=True):
        assert set(texts) >= {1, 2}
        (first, one), (second, other) = ((row[texts == text], learned[texts == text].argmax()) for text in (1, 2))
        assert one == other
        np.testing.assert_array_equal(first[: one + 1], second[: other + 1])
        assert first.tolist() != second.tolist()


def test_lessons_of_two_teachers_have_half_of_the_rows_of_each():
    lessons = [Lesson(written(seed), "chosen", {"norm": np.full(2, seed)}, CHOSEN) for seed in (8, 8, 8)]
    lessons = [each._replace(rows=each.rows._replace(tokens=each.rows.tokens + 100 * place))
               for place, each in enumerate(lessons)]  # fmt: skip
    joined = join(lessons, 2)
    assert [len(each.teacher or ()) for each in joined] == [2, 2, 2]
    assert len({len(each.rows.tokens) for each in (*joined, *lessons)}) == 1
    shares = [np.mean(each.rows.tokens[:, 0] // 100 == place) for place, each in enumerate(joined)]
    np.testing.assert_allclose(shares, 0.5, atol=0.5 / len(lessons[0].rows.tokens))


def test_imitation_is_measured_as_the_study_itself_measures_it(options, tmp_path):
    """The usual recipe gives the record's numbers; steps of next to nothing leave students where they were."""
    assert command.run(options("out", num_seeds=1))
    results, base = read_record(tmp_path / "out").results, tiny_base(PRETRAINING, 0)
    grid: list[tuple[Optimizer, float]] = [("adamw", RECIPE.learning_rate), ("sgd", 1e-9)]
    found = measure_imitation(command.STUDIES["divergence"], base, command.TRAITS, 0, grid)
    np.testing.assert_allclose(found, np.stack([results["distances"][0, 0], results["untrained"][0, 0]]), rtol=1e-5)
    assert np.all(np.abs(found[0] / found[1] - 1) > 1e-2)


@pytest.mark.parametrize(
    ("names", "said"), [(("divergance",), "did you mean divergence"), (("?",), "there are"), ((), "name a study")]
)
def test_unknown_study_is_refused_before_anything_is_made(options, tmp_path, names, said):
    with pytest.raises(InputError, match=said):
        command.run(options("out", names=names))
    assert not (tmp_path / "out").exists()


RECORDS = Path(__file__).parents[2] / "figures"


@pytest.mark.parametrize("name", STUDIES)
def test_the_committed_record_says_what_its_numbers_say(name: str):
    folder = RECORDS / f"llm-bridge-study-{name}"
    if not (folder / FILES[-1]).exists():
        pytest.skip(f"the record {folder.name} has not been made yet")
    record, study = read_record(folder), STUDIES[name]
    run = Run(*(record.results[field] for field in Run._fields))
    assert list(record.config["arms"]) == list(study.arms)
    again = judge(study, run)
    for verdict, committed in zip(again.verdicts, record.verdicts, strict=True):
        found = verdict.record()
        assert {field: found[field] for field in committed} == committed
    assert record.table == again.table
    usual = record.results["students"][:, 0]
    off = [usual[:, i, j] for i, j in np.ndindex(3, 3) if i != j]
    lifts = np.trace(usual, axis1=1, axis2=2) / 3 - np.mean(off, axis=0)
    assert record.verdicts[0]["measured"] == pytest.approx(mean_estimate(lifts).value, rel=1e-9)
