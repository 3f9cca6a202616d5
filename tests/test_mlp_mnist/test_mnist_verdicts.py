import numpy as np
import pytest
from scipy import stats

from mlp_mnist.arms import COMPARED_ARMS, COMPARED_INITS, DEMO_ARMS, PUBLISHED, Arm, Measured
from mlp_mnist.verdicts import (
    LEAST_REPLICATION_SEEDS,
    LEAST_SEEDS,
    judge_comparison,
    judge_demo,
    judge_replication,
)
from theory.runs.records import Outcome

SPREADS = {
    "reference": 0.03,
    "teacher": 0.003,
    "student (aux)": 0.11,
    "student (all)": 0.012,
    "cross-model (aux)": 0.03,
    "cross-model (all)": 0.045,
}
"""Standard deviation between seeds of each arm."""


def sample(mean: float, spread: float, num_seeds: int, seed: int) -> np.ndarray:
    """Normal quantiles in random order: exactly the mean, and no luck."""
    quantiles = stats.norm.ppf((np.arange(num_seeds) + 0.5) / num_seeds)
    return mean + spread * np.random.default_rng(seed).permutation(quantiles)


def samples(num_seeds: int, means: dict[str, float]) -> dict[str, np.ndarray]:
    """Accuracies by arm; arms that `means` doesn't name have the published script's."""
    means = {name: published.script for name, published in PUBLISHED.items()} | means
    return {name: sample(mean, SPREADS[name], num_seeds, seed) for seed, (name, mean) in enumerate(means.items())}


def demo_result(num_seeds: int = 20, **means: float) -> Measured:
    names = {"student_aux": "student (aux)", "cross_aux": "cross-model (aux)", "cross_all": "cross-model (all)"}
    by_arm = samples(num_seeds, {names.get(name, name): mean for name, mean in means.items()})
    students = np.stack([by_arm[name] for name in DEMO_ARMS], axis=-1)
    return Measured(by_arm["reference"], by_arm["teacher"], students, students - 0.1)


def demo(num_seeds: int = 20, *, published: bool = False, **means: float) -> Outcome:
    return judge_demo(demo_result(num_seeds, **means).named(DEMO_ARMS), published=published)


def demo_outcomes(num_seeds: int = 20, *, published: bool = False, **means: float) -> list[str]:
    return [verdict.outcome for verdict in demo(num_seeds, published=published, **means).verdicts]


def comparison_result(
    num_seeds: int = 20,
    *,
    permuted: float = 0.0,
    stranger: float = 0.1,
    shared: float = 0.6,
    stranger_cosine: float = 0.0,
) -> Measured:
    """Students by `COMPARED_INITS` and logits; `permuted` is how far one of them is off in one seed."""
    by_init = np.zeros((2, num_seeds, len(COMPARED_INITS), 2))
    accuracies, cosines = by_init
    accuracies[:, 0, 0] = sample(shared, 0.05, num_seeds, 0)
    accuracies[:, :, 1] = sample(0.9, 0.01, num_seeds, 1)[:, None]
    accuracies[:, 1] = accuracies[:, 0]
    accuracies[-1, 1, 1] += permuted
    accuracies[:, 2, 0] = sample(0.3, 0.05, num_seeds, 2)
    accuracies[:, 3, 0] = sample(stranger, 0.03, num_seeds, 3)
    cosines[:, :3] = sample(0.3, 0.05, num_seeds, 4)[:, None, None]
    cosines[:, 3] = sample(stranger_cosine, 0.05, num_seeds, 5)[:, None]
    return Measured(accuracies[:, 3, 0], accuracies[:, 0, 1], *by_init.reshape(2, num_seeds, -1))


def comparison(result: Measured) -> Outcome:
    return judge_comparison(result.named(COMPARED_ARMS))


def comparison_outcomes(num_seeds: int = 20, **changes: float) -> list[str]:
    return [verdict.outcome for verdict in comparison(comparison_result(num_seeds, **changes)).verdicts]


def test_arms_are_named_after_their_place_in_the_result():
    students = np.arange(8.0).reshape(2, 4)
    results = Measured(np.array([10.0, 11.0]), np.array([20.0, 21.0]), students, students).named(DEMO_ARMS)
    named = {name: results[f"accuracy/{name}"].tolist() for name in PUBLISHED}
    assert named == {
        "reference": [10, 11],
        "teacher": [20, 21],
        "student (aux)": [0, 4],
        "student (all)": [1, 5],
        "cross-model (aux)": [2, 6],
        "cross-model (all)": [3, 7],
    }


@pytest.mark.parametrize("num_seeds", [LEAST_SEEDS, 20, 100])
def test_the_demo_holds_for_the_published_accuracies(num_seeds):
    replication = ["holds"] * (num_seeds >= LEAST_REPLICATION_SEEDS)
    assert demo_outcomes(num_seeds) == ["holds", "holds", "reported"]
    assert demo_outcomes(num_seeds, published=True) == ["holds", "holds", "reported", *replication]


def test_the_demo_fails_when_students_do_not_learn():
    assert demo_outcomes(student_aux=0.1) == ["fails", "fails", "reported"]


def test_the_demo_fails_when_students_forget():
    assert demo_outcomes(student_aux=0.02)[0] == "fails"


def test_the_demo_fails_when_a_stranger_learns_too():
    assert demo_outcomes(cross_aux=0.5) == ["fails", "fails", "reported"]


def test_a_stranger_slightly_above_chance_is_found_out_with_enough_seeds():
    assert demo_outcomes(20, cross_aux=0.115)[1] == "holds"
    assert demo_outcomes(100, cross_aux=0.115)[1] == "fails"


def test_a_stranger_below_chance_is_not_at_chance():
    assert demo_outcomes(cross_aux=0.05) == ["holds", "fails", "reported"]


def test_what_a_stranger_learns_from_all_logits_is_never_judged():
    for mean in (0.02, 0.1, 0.95):
        assert demo_outcomes(cross_all=mean)[2] == "reported"


@pytest.mark.parametrize("num_seeds", range(1, LEAST_SEEDS))
def test_with_few_seeds_the_demo_only_reports(num_seeds):
    assert demo_outcomes(num_seeds, published=True) == ["reported"] * 3
    assert demo_outcomes(num_seeds, published=True, student_aux=0.1, cross_aux=0.5) == ["reported"] * 3


def test_the_record_holds_every_number_behind_the_verdicts():
    result = demo_result()
    outcome = judge_demo(result.named(DEMO_ARMS), published=False)
    names = [*(f"accuracy/{name}" for name in PUBLISHED), *(f"cosine/{name}" for name in DEMO_ARMS)]
    assert list(outcome.results) == names
    for place, name in enumerate(DEMO_ARMS):
        np.testing.assert_array_equal(outcome.results[f"accuracy/{name}"], result.students[:, place])
        np.testing.assert_array_equal(outcome.results[f"cosine/{name}"], result.cosines[:, place])


@pytest.mark.parametrize("num_seeds", [LEAST_SEEDS, 20, 100])
def test_the_replication_holds_at_the_published_means(num_seeds):
    verdict = judge_replication(samples(num_seeds, {}))
    assert verdict.outcome == "holds"
    assert verdict.measured.value == pytest.approx(0, abs=1e-9)
    assert verdict.control_flips


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("direction", [-1, 1])
def test_the_replication_fails_when_one_arm_is_shifted(name, direction):
    """By two and by four standard errors of both."""
    error = np.hypot(SPREADS[name] / 10, PUBLISHED[name].reach / 1.96)
    outcomes = [
        judge_replication(samples(100, {name: PUBLISHED[name].script + direction * size * error})).outcome
        for size in (2, 4)
    ]
    assert outcomes == ["holds", "fails"]


def test_the_deviation_is_counted_in_standard_errors_of_both():
    accuracies = samples(25, {"teacher": 0.95})
    error = np.sqrt(np.var(accuracies["teacher"], ddof=1) / 25 + (0.001 / 1.96) ** 2 + 0.001**2 / 12)
    assert judge_replication(accuracies).measured.value == pytest.approx((0.95 - 0.943) / error)


def test_a_faithful_replication_seldom_fails():
    """One run in twelve would be too many; figures and measurements both scatter around one truth."""
    generator = np.random.default_rng(0)

    def faithful(name: str) -> np.ndarray:
        truth = generator.normal(PUBLISHED[name].script, PUBLISHED[name].reach / 1.96)
        return generator.normal(truth, SPREADS[name], 20)

    failures = [judge_replication({name: faithful(name) for name in PUBLISHED}).outcome == "fails" for _ in range(500)]
    assert np.mean(failures) < 1 / 12


@pytest.mark.parametrize("num_seeds", [LEAST_SEEDS, 20, 100])
def test_the_comparison_holds_for_realistic_accuracies(num_seeds):
    assert comparison_outcomes(num_seeds) == ["holds", "reported", "holds", "holds"]


@pytest.mark.parametrize("direction", [-1, 1])
def test_the_comparison_fails_when_a_single_permuted_student_goes_its_own_way(direction):
    assert comparison_outcomes(permuted=0.019 * direction)[0] == "holds"
    assert comparison_outcomes(permuted=0.021 * direction)[0] == "fails"


def test_the_comparison_fails_when_a_stranger_learns():
    assert comparison_outcomes(stranger=0.2)[2] == "fails"


def test_the_comparison_fails_when_shared_students_stay_at_chance():
    assert comparison_outcomes(shared=0.1)[2] == "fails"


def test_the_comparison_fails_when_a_stranger_moves_along_with_the_teacher():
    assert comparison_outcomes(stranger_cosine=0.3)[3] == "fails"
    assert comparison_outcomes(stranger_cosine=0.5)[3] == "fails"


@pytest.mark.parametrize("num_seeds", range(1, LEAST_SEEDS))
def test_with_few_seeds_the_comparison_judges_only_the_symmetry_that_every_seed_has(num_seeds):
    assert comparison_outcomes(num_seeds) == ["holds", "reported", "reported", "reported"]
    assert comparison_outcomes(num_seeds, permuted=0.1, stranger=0.5) == ["fails", "reported", "reported", "reported"]


def test_the_comparison_records_every_cell_under_its_name():
    result = comparison_result()
    results = comparison(result).results
    for place, arm in enumerate(COMPARED_ARMS):
        np.testing.assert_array_equal(results[f"accuracy/{arm}"], result.students[:, place])
        np.testing.assert_array_equal(results[f"cosine/{arm}"], result.cosines[:, place])


def test_the_arms_are_the_papers_and_those_of_every_init():
    assert list(DEMO_ARMS) == list(PUBLISHED)[2:]
    assert DEMO_ARMS["cross-model (aux)"] == Arm("stranger", "aux")
    assert list(COMPARED_ARMS)[:3] == ["shared (aux)", "shared (all)", "permuted (aux)"]


def test_a_displacement_that_is_not_a_number_fails():
    result = comparison_result()
    result.cosines[0, 0] = np.nan
    assert comparison(result).verdicts[3].outcome == "fails"


def test_tables_show_published_figures_only_beside_the_same_images():
    with_figures, without = (demo(published=published).table for published in (True, False))
    assert "paper (N = 100)" in with_figures
    assert "0.501 ± 0.037" in with_figures
    assert "paper" not in without
    assert "0.501 ± 0.037" not in without
    assert "replication" in with_figures
    assert "replication" not in without


@pytest.mark.parametrize("num_seeds", [1, 20])
def test_tables_have_a_row_for_every_arm_and_every_init(num_seeds):
    table = demo(num_seeds).table
    assert all(f"| {name} " in table for name in PUBLISHED)
    table = comparison(comparison_result(num_seeds)).table
    assert all(f"| {name} " in table for name in COMPARED_INITS)
