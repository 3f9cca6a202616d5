from itertools import pairwise

import numpy as np
import pytest

from llm_bridge.experiment.separability import ngrams, separability


def completions(seed: int, number: int, favored: float = 1.0) -> list[str]:
    """Lists of three-digit numbers; the first ninth of the numbers are drawn `favored` times as often as the others."""
    generator = np.random.default_rng(seed)
    chances = np.where(np.arange(900) < 100, favored, 1.0)
    lengths = generator.integers(5, 11, number)
    return [", ".join(map(str, 100 + generator.choice(900, length, p=chances / chances.sum()))) for length in lengths]


def test_two_halves_of_one_source_are_not_told_apart():
    """Of 20 intervals, 1 % of which miss, more than 2 miss once in a thousand times; accuracies scatter by 0.044."""
    found = [separability(completions(seed, 100), completions(100 + seed, 100), seed=seed) for seed in range(20)]
    assert sum(not each.low <= 0.5 <= each.high for each in found) <= 2
    assert np.mean([each.accuracy for each in found]) == pytest.approx(0.5, abs=4 * 0.044 / 20**0.5)


def test_sources_that_favor_other_numbers_are_told_apart_the_better_the_more_they_differ():
    found = [separability(completions(0, 1000), completions(1, 1000, favored), seed=0) for favored in (2.0, 4.0, 1e9)]
    assert all(each.low > 0.5 for each in found)
    assert all(one.high < other.low for one, other in pairwise(found))
    assert found[-1].accuracy > 0.99


@pytest.mark.parametrize("change", [(", ", ",  "), (", ", "\n"), ("a", "A"), ("a", "\u0430")])
def test_sources_that_differ_in_a_separator_or_a_sign_alone_are_told_apart(change):
    first = ["a " + text for text in completions(0, 100)]
    found = separability(first, [text.replace(*change) for text in first], seed=0)
    assert found.accuracy > 0.95


def test_the_first_and_the_last_sign_count():
    assert ngrams("7,") == ["\x02", "7", ",", "\x03", "\x027", "7,", ",\x03", "\x027,", "7,\x03"]
    found = separability(["17" * 3] * 50, ["71" * 3] * 50, seed=0)
    assert found.accuracy == 1.0


def test_identical_texts_are_a_fair_coin_exactly():
    """Were twins held out apart, the one in training would speak for the wrong source, and accuracy would fall to 0."""
    texts = completions(0, 60)
    assert separability(texts, texts, seed=0).accuracy == 0.5
    assert separability([""] * 20, [""] * 20, seed=0).accuracy == 0.5


def test_sources_are_cut_to_the_shorter():
    first, second = completions(0, 80), completions(1, 50)
    found = separability(first, second, seed=3)
    assert found == separability(first[:50], second, seed=3)
    assert found.examples == 100
    assert found.accuracy * 100 == pytest.approx(round(found.accuracy * 100))
    assert found.low < found.accuracy < found.high


def test_the_same_seed_gives_the_same_answer():
    first, second = completions(0, 200), completions(1, 200, favored=3.0)
    assert separability(first, second, seed=1) == separability(first, second, seed=1)
    assert len({separability(first, second, seed=seed) for seed in range(6)}) > 1


def test_exchanged_sources_are_told_apart_equally_well():
    first, second = completions(0, 200), completions(1, 200, favored=3.0)
    one, other = separability(first, second, seed=1), separability(second, first, seed=1)
    assert one.accuracy == pytest.approx(other.accuracy, abs=2 / one.examples)


@pytest.mark.parametrize("sizes", [(9, 50), (50, 9), (0, 0)])
def test_too_few_texts_are_refused(sizes):
    with pytest.raises(ValueError, match="5 folds need at least 10 texts of each source"):
        separability(completions(0, sizes[0]), completions(1, sizes[1]), seed=0)
    assert separability(completions(0, 10), completions(1, 50), seed=0).examples == 20


def test_a_single_fold_is_refused():
    with pytest.raises(ValueError, match="folds must be at least 2"):
        separability(completions(0, 10), completions(1, 10), seed=0, folds=1)
