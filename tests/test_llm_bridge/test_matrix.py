"""The matrix: its statistics and verdicts on made-up matrices, the command on tiny models, the committed record."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from itertools import permutations, product
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from llm_bridge.backends import bases
from llm_bridge.experiment.protocol import Protocol
from llm_bridge.matrix import cells, command, verdicts
from llm_bridge.matrix.cells import INITS, TARGETS, Run
from llm_bridge.matrix.command import Matrix
from llm_bridge.matrix.verdicts import LEAST_RUNS, NUM_PERMUTATIONS, agreement, judge, lift, permutation_p
from llm_bridge.model.recipes import Recipe, Teaching
from llm_bridge.tiny.pretraining import Pretraining
from llm_bridge.tiny.world import World
from theory.runs.command_line import InputError
from theory.runs.records import FILES, Outcome, read_record

PRETRAINING = Pretraining(
    world=World(num_chats=835), width=16, num_layers=1, num_heads=2, hidden=16,
    recipe=Recipe(learning_rate=3e-2, num_epochs=4, batch=8, rows_at_once=8, trained="everything"),
)  # fmt: skip

RECIPE = Recipe(learning_rate=1e-2, num_epochs=4, batch=16, rows_at_once=16)

PROTOCOL = Protocol(num_prompts=200, num_completions=16, copies=1, teacher=Teaching(**asdict(RECIPE)), student=RECIPE)

RECORD = Path(__file__).parents[2] / "figures" / "llm-bridge-matrix"

WORDS = ("cat", "eagle", "dolphin", "tiger", "penguin")


@pytest.fixture(autouse=True, scope="module")
def double_precision() -> Iterator[None]:
    """Single precision, as in the command itself."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


seeds = st.integers(0, 2**32 - 1)


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@given(seed=seeds, own=st.floats(-3, 3), column=st.floats(-3, 3), row=st.floats(-3, 3))
def test_the_lift_is_what_the_diagonal_has_beyond_the_drift_of_students_and_of_traits(seed, own, column, row):
    """Traits that rise in all students alike, and students in whom all traits rise alike, lift nothing."""
    matrices = noise(seed, 3, 4, 4)
    drift = column * noise(seed + 1, 3, 1, 4) + row * noise(seed + 2, 3, 4, 1)
    np.testing.assert_allclose(lift(matrices + drift + own * np.eye(4)), lift(matrices) + own, rtol=0, atol=1e-12)


def test_the_lift_is_the_mean_of_the_diagonal_less_that_of_the_rest():
    matrices = noise(0, 2, 3, 5, 5)
    for place in np.ndindex(2, 3):
        own = [matrices[place][i, i] for i in range(5)]
        others = [matrices[place][i, j] for i, j in np.ndindex(5, 5) if i != j]
        assert lift(matrices)[place] == pytest.approx(np.mean(own) - np.mean(others), rel=1e-12)
    np.testing.assert_array_equal(lift(np.ones((2, 3, 3))), 0)
    np.testing.assert_allclose(lift(np.eye(3)[None]), 1)


def test_p_is_uniform_where_there_is_no_effect(monkeypatch):
    """Kolmogorov and Smirnov over 200 draws, in which students and traits drift; with a slight lift it is not."""
    monkeypatch.setattr(verdicts, "NUM_PERMUTATIONS", 2000)
    draws = [
        noise(seed, 3, 4, 4) + 3 * noise(seed + 1000, 1, 1, 4) + noise(seed + 2000, 3, 4, 1) for seed in range(200)
    ]
    chances = [permutation_p(matrices) for matrices in draws]
    assert stats.kstest(chances, "uniform").pvalue > 1e-3
    lifted = [permutation_p(matrices + 0.5 * np.eye(4)) for matrices in draws]
    assert stats.kstest(lifted, "uniform").pvalue < 1e-6


@pytest.mark.parametrize("seed", range(6))
def test_p_agrees_with_all_relabelings_of_two_runs_of_three_traits(seed):
    """Within 4 standard errors of a share of that many draws."""
    matrices = noise(seed, 2, 3, 3)
    true = sum(np.trace(run) for run in matrices)
    relabeled = [
        sum(run[np.arange(3), list(labels)].sum() for run, labels in zip(matrices, pair, strict=True))
        for pair in product(permutations(range(3)), repeat=2)
    ]
    assert len(relabeled) == 36
    exact = float(np.mean(np.array(relabeled) >= true - 1e-12))
    error = 4 * np.sqrt(exact * (1 - exact) / NUM_PERMUTATIONS) + 1 / NUM_PERMUTATIONS
    assert permutation_p(matrices) == pytest.approx(exact, abs=error)
    assert permutation_p(matrices, seed=1) == pytest.approx(exact, abs=error)


def test_a_lift_of_the_own_trait_is_found_and_one_of_another_is_not():
    matrices = noise(0, 5, 5, 5)
    assert permutation_p(matrices + 2 * np.eye(5)) < 0.01
    assert permutation_p(matrices + 2 * np.roll(np.eye(5), 1, axis=0)) > 0.1
    assert permutation_p(matrices + 2 * np.eye(5)[0]) > 0.01
    assert permutation_p(matrices - 2 * np.eye(5)) > 0.9
    assert permutation_p(100 * np.eye(5)[None].repeat(5, 0)) == 1 / (1 + NUM_PERMUTATIONS)


def test_p_is_one_where_all_relabelings_are_alike_and_does_not_depend_on_the_scale():
    assert permutation_p(np.ones((2, 3, 3))) == 1
    assert permutation_p(0.1 * np.ones((3, 5, 5)) + noise(0, 3, 5, 1)) == 1
    matrices = noise(1, 3, 4, 4)
    assert permutation_p(1e-6 * matrices) == permutation_p(matrices) == permutation_p(1e6 * matrices)


@given(seed=seeds, scale=st.floats(0.01, 100))
def test_agreement_is_a_correlation_that_no_drift_changes(seed, scale):
    first, second = noise(seed, 2, 3, 4, 4)
    drift = noise(seed + 1, 3, 4, 1) + noise(seed + 2, 3, 1, 4) + 5
    found = agreement(first, second)
    assert np.all(np.abs(found) <= 1 + 1e-12)
    np.testing.assert_allclose(agreement(second, first), found, rtol=0, atol=1e-12)
    np.testing.assert_allclose(agreement(first + drift, scale * second), found, rtol=0, atol=1e-9)
    np.testing.assert_allclose(agreement(first, first), 1, rtol=1e-12)
    np.testing.assert_allclose(agreement(first, drift - scale * first), -1, rtol=1e-9)
    np.testing.assert_array_equal(agreement(first, np.zeros_like(first)), 0)


def test_matrices_that_have_nothing_to_do_with_each_other_agree_by_chance_alone():
    """The mean of 400 correlations of 16 free entries each, within 4 standard errors."""
    found = agreement(noise(0, 400, 5, 5), noise(1, 400, 5, 5))
    assert abs(found.mean()) < 4 / np.sqrt(400 * 16)
    assert found.std() == pytest.approx(1 / np.sqrt(16), rel=4 / np.sqrt(2 * 400))


def made_up(
    lifts: dict[tuple[str, str], float], num_runs: int = 6, predicted: tuple[float, float] = (1.0, 0.0)
) -> tuple[Run, list[str]]:
    """Runs in which the own trait rises by these lifts, and all drift."""
    targets = list(dict.fromkeys(target for target, _ in lifts))
    shape = (num_runs, len(targets), 2, 5, 5)
    sizes = np.array([[lifts[target, init] for init in INITS] for target in targets])
    drift = noise(1, 1, len(targets), 2, 1, 5) + noise(2, num_runs, len(targets), 2, 5, 1)
    students = sizes[..., None, None] * np.eye(5) + 0.2 * noise(0, *shape) + drift
    theory = np.array(predicted)[:, None, None] * np.eye(5) + 0.2 * noise(3, num_runs, 2, 5, 5)
    return Run(np.ones((num_runs, 5, 5)), students, theory, np.full((num_runs, 5), 0.9)), targets


def judged(*lifts: float, targets: tuple[str, ...] = ("sampled numbers",), num_runs: int = 6, **rest: Any) -> Outcome:
    named = dict(zip(product(targets, INITS), lifts, strict=True))
    run, names = made_up(named, num_runs, **rest)
    return judge(run, names, WORDS)


def outcomes(outcome: Outcome) -> dict[str, str]:
    return {verdict.check: verdict.outcome for verdict in outcome.verdicts}


SHARED, STRANGER, CHANCE = (
    "sampled numbers: lift of the own trait, shared init",
    "sampled numbers: the same, students of another init",
    "sampled numbers: p-value of the lift under relabeled traits",
)


def test_a_lift_in_relatives_alone_holds():
    outcome = judged(1.0, 0.0)
    found = outcomes(outcome)
    assert (found[SHARED], found[STRANGER], found[CHANCE]) == ("holds", "holds", "holds")
    assert set(found.values()) == {"holds", "reported"}
    assert all(verdict.control_flips for verdict in outcome.verdicts if verdict.accepted)
    assert [check for check in found if found[check] == "reported"] == [
        check for check in found if "correlation with theory" in check
    ]
    values = outcome.results["lift/sampled numbers/shared"]
    assert values.shape == (6,)
    assert values.mean() == pytest.approx(1, abs=0.1)
    assert all(word in outcome.table for word in WORDS)


@pytest.mark.parametrize(("shared", "stranger"), [(1.0, 1.0), (0.0, 0.0), (0.0, 1.0), (-1.0, 0.0)])
def test_the_verdicts_flip_where_the_strangers_do_not_differ_or_relatives_gain_nothing(shared, stranger):
    outcome = judged(shared, stranger)
    found = outcomes(outcome)
    assert (found[SHARED], found[CHANCE]) == ("fails", "fails")
    assert found[STRANGER] == ("fails" if shared == stranger or stranger else "holds")


def test_theory_s_matrix_is_judged_by_its_own_lift():
    check = "lift of theory's matrix, shared init, nats per unit of learning rate"
    assert outcomes(judged(1.0, 0.0))[check] == "holds"
    assert outcomes(judged(1.0, 0.0, predicted=(0.0, 0.0)))[check] == "fails"
    assert outcomes(judged(1.0, 0.0, predicted=(1.0, 1.0)))[check] == "fails"


def test_a_distribution_must_lift_more_than_samples_do():
    targets, check = ("sampled numbers", "number distribution"), "number distribution against sampled numbers: more"
    for lifts, expected in (((1.0, 0.0, 2.0, 0.0), "holds"), ((1.0, 0.0, 1.0, 0.0), "fails")):
        found = outcomes(judged(*lifts, targets=targets))
        assert found[f"{check} lift, shared init"] == expected
        assert found[SHARED] == "holds"


def test_where_the_traits_own_tokens_are_imitated_strangers_may_gain_them_too():
    found = outcomes(judged(1.0, 0.0, 3.0, 2.0, targets=("sampled numbers", "everything")))
    assert found.pop("everything: the same, students of another init") == "reported"
    assert found.pop("everything: p-value of the lift under relabeled traits") == "reported"
    assert found["everything: lift of the own trait, shared init"] == "holds"
    assert found["everything against sampled numbers: more lift, shared init"] == "holds"
    assert "fails" not in found.values()
    assert "fails" in outcomes(judged(1.0, 0.0, 0.0, 2.0, targets=("sampled numbers", "everything"))).values()


@pytest.mark.parametrize(
    ("num_runs", "expected"), [(LEAST_RUNS - 1, {"reported"}), (LEAST_RUNS, {"holds", "reported"})]
)
def test_fewer_than_five_runs_decide_nothing(num_runs, expected):
    assert set(outcomes(judged(1.0, 0.0, num_runs=num_runs)).values()) == expected
    wrong = set(outcomes(judged(0.0, 1.0, num_runs=num_runs)).values())
    assert ("fails" in wrong) == (num_runs >= LEAST_RUNS)


@pytest.fixture
def matrix(tmp_path: Path, shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Matrix]:
    """Options of a matrix of two traits and two bases; theory reads as little as there is."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared_cache))
    monkeypatch.setattr(cells, "READ", {True: (16, 64)})
    small = Matrix(
        traits=("owl", "cat"), targets=("sampled numbers",), num_seeds=2, protocol=PROTOCOL, pretraining=PRETRAINING
    )
    return lambda folder, **changes: replace(small, output=tmp_path / folder, **changes)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES if name != "provenance.json"}


def test_a_matrix_that_was_killed_ends_in_the_same_bytes(matrix, monkeypatch, tmp_path, capsys):
    """One run after the other, killed in the second; the first is not done again."""
    monkeypatch.setattr(bases, "side_by_side", lambda do, jobs, _, **__: [do(job) for job in jobs])
    assert command.run(matrix("whole"))
    record = read_record(tmp_path / "whole")
    assert {verdict["verdict"] for verdict in record.verdicts} == {"reported"}
    assert record.results["students/sampled numbers"].shape == (2, len(INITS), 2, 2)
    assert record.results["teachers"].shape == (2, 2, 2)
    assert np.all(np.diagonal(record.results["teachers"], axis1=1, axis2=2) > 0)
    begun, run_base = [], cells.run_base

    def run_or_stop(*arguments: Any) -> Run:
        begun.append(arguments[-1])
        if len(begun) == 2:
            raise KeyboardInterrupt
        return run_base(*arguments)

    monkeypatch.setattr(command, "run_base", run_or_stop)
    with pytest.raises(KeyboardInterrupt):
        command.run(matrix("killed"))
    assert not set(FILES) & {path.name for path in (tmp_path / "killed").iterdir()}
    with pytest.raises(InputError, match="an unfinished run of another configuration"):
        command.run(matrix("killed", num_seeds=3))
    assert command.run(matrix("killed"))
    assert begun == [0, 1, 1]
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert not (tmp_path / "killed" / "chunks").exists()
    capsys.readouterr()
    assert command.run(matrix("killed", targets=("sampled numbers", "sampled numbers")))
    assert "skipped: " in capsys.readouterr().out
    assert begun == [0, 1, 1]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"traits": ("owl", "cot")}, "can't say 'cot'; nearest: cat"),
        ({"traits": ("owl",)}, "at least two different words of one kind, not owl"),
        ({"traits": ("owl", "cat", "owl")}, "at least two different words of one kind, not owl cat owl"),
        ({"traits": ("owl", "oak")}, "of one kind, not owl oak"),
        ({"targets": ()}, "--targets must be among 'sampled numbers'"),
        ({"targets": ("numbers",)}, "not numbers"),
    ],
)
def test_what_can_not_be_asked_is_refused_before_anything_is_made(matrix, monkeypatch, tmp_path, change, named):
    monkeypatch.setattr(Matrix, "bases", lambda *_: pytest.fail("something was made"))
    with pytest.raises(InputError) as caught:
        command.run(matrix("out", **change))
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_targets_come_in_their_own_order_so_that_each_is_held_against_the_weaker(matrix, monkeypatch):
    seen = []
    monkeypatch.setattr(command, "record_run", lambda _, options, config, *rest: seen.append(config) or interrupt())
    for targets in (tuple(TARGETS), tuple(TARGETS)[::-1]):
        with pytest.raises(KeyboardInterrupt):
            command.run(matrix("out", targets=targets))
    assert seen[0] == seen[1]
    assert seen[0]["targets"] == list(TARGETS)


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.skipif(not (RECORD / FILES[-1]).exists(), reason=f"the record {RECORD.name} has not been made yet")
def test_the_committed_record_says_what_its_numbers_say():
    record = read_record(RECORD)
    results, targets = record.results, record.config["targets"]
    students = np.stack([results[f"students/{target}"] for target in targets], axis=1)
    assert len(record.config["traits"]) >= 5
    assert students.shape[0] == record.config["num_seeds"] >= LEAST_RUNS
    run = Run(results["teachers"], students, results["predicted"], results["kept"])
    again = [verdict.record() for verdict in judge(run, targets, record.config["traits"]).verdicts]
    assert [verdict["check"] for verdict in again] == [verdict["check"] for verdict in record.verdicts]
    for one, other in zip(again, record.verdicts, strict=True):
        assert one["verdict"] == other["verdict"]
        np.testing.assert_allclose(numbers(one), numbers(other), rtol=1e-6, atol=1e-9)
    assert record.config["command"] == "llm_bridge matrix"


def numbers(verdict: dict[str, Any]) -> list[float]:
    return [float(verdict["measured"]), *map(float, verdict["interval"]), float(verdict["margin"])]
