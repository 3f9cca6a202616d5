import numpy as np
import pytest

from mlp_mnist.protocol import Protocol
from mlp_mnist.studies import Finding
from mlp_mnist.study_verdicts import agreement, fitted_spread, is_chance, judge_sweep, saturation
from theory.runs.verdicts import Verdict

SEEDS = np.random.default_rng(0).normal(0, 0.02, 40)
"""What seeds add to a mean."""


def swept(
    means: dict[str, float], points: dict[str, Protocol], equal: tuple[str, str] | None = None
) -> dict[str, Verdict]:
    """Judge a sweep whose students have these means."""
    results = {}
    for label, mean in means.items():
        results |= {
            f"accuracy/{label}": mean + SEEDS,
            f"cosine/{label}": SEEDS,
            f"teacher/{label}": 0.9 + SEEDS,
            f"reference/{label}": 0.1 + SEEDS,
        }
    outcome = judge_sweep(results, points, (), equal)
    return {verdict.claim: verdict for verdict in outcome.verdicts}


def test_a_stranger_at_chance_holds_and_one_above_fails():
    points = {"shared": Protocol(), "stranger": Protocol(shared="nothing")}
    chance = swept({"shared": 0.5, "stranger": 0.1}, points)["different-initialization"]
    assert chance.outcome == "holds"
    assert chance.control_flips
    assert swept({"shared": 0.5, "stranger": 0.2}, points)["different-initialization"].outcome == "fails"
    assert swept({"shared": 0.1, "stranger": 0.1}, points)["different-initialization"].outcome == "fails"


def test_theory_puts_at_chance_whoever_draws_the_class_head_anew():
    assert is_chance(Protocol(shared="nothing"))
    assert is_chance(Protocol(shared="auxiliary head"))
    assert is_chance(Protocol(correlation=0))
    assert not is_chance(Protocol(correlation=0.5))
    assert not any(is_chance(Protocol(shared=shared)) for shared in ("everything", "heads", "class head"))
    assert not is_chance(Protocol(shared="nothing", matched_epochs=1))


def test_one_logit_under_a_softmax_must_leave_every_image_as_it_was():
    points = {"1": Protocol(num_auxiliary=1), "3": Protocol()}
    assert swept({"1": 0.1, "3": 0.5}, points)["null-space"].outcome == "holds"
    assert swept({"1": 0.1001, "3": 0.5}, points)["null-space"].outcome == "fails"


def test_two_precisions_agree_only_if_the_whole_interval_is_small():
    points = {"a": Protocol(), "b": Protocol(precision="bf16"), "stranger": Protocol(shared="nothing")}
    assert swept({"a": 0.5, "b": 0.51, "stranger": 0.1}, points, equal=("a", "b"))["precision"].outcome == "holds"
    assert swept({"a": 0.5, "b": 0.47, "stranger": 0.1}, points, equal=("a", "b"))["precision"].outcome == "fails"


def test_transfer_goes_by_alignment_only_if_its_removal_and_not_a_random_one_takes_most_of_the_gain():
    removals = {name: Protocol(removed=name) for name in ("nothing", "aligned", "random")}
    points = removals | {"stranger": Protocol(shared="nothing")}
    means = {"nothing": 0.5, "random": 0.5, "stranger": 0.1}
    assert swept(means | {"aligned": 0.15}, points)["alignment"].outcome == "holds"
    assert swept(means | {"aligned": 0.4}, points)["alignment"].outcome == "fails"
    assert swept(means | {"aligned": 0.15, "random": 0.15}, points)["alignment"].outcome == "fails"
    assert "alignment" not in swept(
        {"nothing": 0.5, "stranger": 0.1}, {"nothing": Protocol(), "stranger": points["stranger"]}
    )


@pytest.mark.parametrize(
    ("finding", "expected"),
    [
        (Finding("", "a", 0.45, 0.55), "reproduced"),
        (Finding("", "a", 0.6, 0.7), "refuted"),
        (Finding("", "a", 0.0, 1.0, "b"), "reproduced"),
        (Finding("", "a", -1.0, 0.0, "b"), "refuted"),
        (Finding("", "a", 0.0, 1.0, "same"), "undecided"),
    ],
)
def test_a_report_is_reproduced_refuted_or_undecided(finding, expected):
    noisy = 0.5 + np.random.default_rng(1).normal(0, 0.02, 40)
    noisy += 0.5 - noisy.mean()
    accuracies = {"a": 0.5 + SEEDS - SEEDS.mean(), "b": 0.3 + SEEDS, "same": noisy}
    assert agreement(finding, accuracies) == expected


def test_a_single_seed_decides_no_difference():
    one = {"a": np.array([0.9]), "b": np.array([0.1])}
    assert agreement(Finding("", "a", 0.0, 1.0, "b"), one) == "undecided"


def test_what_half_of_the_features_lesson_takes_is_found_in_accuracies_over_the_number_of_logits():
    numbers = np.array([3, 10, 30, 100, 300])
    noise = np.random.default_rng(2).normal(0, 0.01, (5, 40))
    gains = (0.6 * numbers / (numbers + 90))[:, None] + noise
    assert fitted_spread(gains, numbers).low < 90 < fitted_spread(gains, numbers).high
    factor, left = saturation(gains, numbers, 90.0)
    assert factor == pytest.approx(0.6, abs=0.01)
    assert left < 20 < saturation(gains, numbers, 1e5)[1]


def test_the_form_is_held_against_shared_heads_alone():
    points = {f"{number}": Protocol(shared="heads", num_auxiliary=number) for number in (3, 10, 30, 100, 300)}
    means = {label: 0.1 + 0.5 * float(label) / (float(label) + 257) for label in points}
    assert swept(means, points)["shared-heads"].outcome == "reported"
    assert "shared-heads" not in swept(means, {label: Protocol() for label in points})
