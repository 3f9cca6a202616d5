"""What the audit's study shows: false alarms, how well teachers are told, and whether forecasts come true."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import stats

from llm_bridge.auditing.study import MIXED, SHARES, SIZES, TEACHERS, TRAINED_SHARES, UNSEEN, Run, set_names
from llm_bridge.matrix.verdicts import LEAST_RUNS
from llm_bridge.text.traits import ANIMALS
from theory.runs.records import Outcome
from theory.runs.statistics import Estimate, mean_estimate, rate_estimate
from theory.runs.verdicts import Accepted, Verdict, markdown_table, verdict_table

KINDS = ("dose", "forecast")
"""What has a standard score."""

ALARM, RARE = 0.05, 0.001
"""Shares of false alarms."""

AS_RARE, NORMAL = Accepted(low=ALARM, high=ALARM, rule="covers"), Accepted(low=RARE, high=1.0)
"""What a share of false alarms, and what the p-value of a distribution, must be."""

ABOVE_HALF, ABOVE_ZERO = Accepted(low=0.5, high=np.inf), Accepted(low=0.0, high=np.inf)
"""What an area under a ROC curve, and what a correlation or a difference must be."""

WHOLE = 0.9
"""Share of the wanted texts from which a data set is whole."""

MOVED, NEAR = 0.1, 1.5
"""Nats from which a word counts as moved, and the factor within which it is as foretold."""


def null_scores(run: Run, kind: int) -> Float[np.ndarray, " sets"]:
    """Take one word's standard score of each data set that holds nothing, words in turn: all are independent."""
    found = run.null_z[:, kind].reshape(-1, run.null_z.shape[-1])
    return found[np.arange(len(found)), np.arange(len(found)) % found.shape[1]]


def own(values: np.ndarray, teachers: Sequence[str] = TEACHERS) -> np.ndarray:
    """Take the teacher's own word of arrays that end in `(teachers, words)`, of some teachers."""
    return np.stack([values[..., TEACHERS.index(word), ANIMALS.index(word)] for word in teachers], axis=-1)


def others(values: np.ndarray) -> np.ndarray:
    """Take teachers' words on the data of the other teachers."""
    pairs = [(TEACHERS.index(other), ANIMALS.index(word)) for word in TEACHERS for other in TEACHERS if other != word]
    return values[..., *map(list, zip(*pairs, strict=True))]


def auroc(negative: np.ndarray, positive: np.ndarray) -> float:
    """Compute how often a positive one is larger than a negative one; NaN are left out."""
    first, second = (each[np.isfinite(each)] for each in (np.ravel(negative), np.ravel(positive)))
    ranks = stats.rankdata(np.concatenate([first, second]))[len(first) :]
    return float((ranks.mean() - (len(second) + 1) / 2) / len(first))


def of_bases(measure: Callable[[int], float], run: Run) -> Estimate:
    """Estimate the mean over bases of what is measured of each."""
    return mean_estimate(np.array([measure(base) for base in range(len(run.predicted))]))


def known(value: float) -> Estimate:
    """State a value that has no interval."""
    return Estimate(float(value), float(value), float(value))


def rank_correlation(predicted: np.ndarray, trained: np.ndarray) -> float:
    """Compute Spearman's correlation of all data sets and words; NaN are left out."""
    known = np.isfinite(predicted) & np.isfinite(trained)
    return float(np.corrcoef(stats.rankdata(predicted[known]), stats.rankdata(trained[known]))[0, 1])


def judged(claim: str, check: str, sides: Sequence[Estimate], accepted: Accepted, control: str, **said: Any) -> Verdict:
    """Judge the first of two estimates; the other is the control."""
    measured, broken = sides
    about = {"claim": claim, "check": check, "accepted": accepted, "control": control}
    return Verdict(measured=measured, control_measured=broken, **about, **said)


def reported(claim: str, check: str, measured: Estimate, predicted: str = "reported", instances: int = 1) -> Verdict:
    """State what is not judged."""
    return Verdict(claim=claim, check=check, predicted=predicted, measured=measured, instances=instances)


def judge_chance(run: Run) -> list[Verdict]:
    """Judge what data sets that hold nothing look like; each counts once."""
    verdicts, limit = [], stats.norm.isf(ALARM)
    for kind, name in enumerate(KINDS):
        sets = null_scores(run, kind), own(run.whole_z[:, kind]).ravel()
        count, rare = len(sets[0]), float(np.mean(run.null_z[:, kind] > stats.norm.isf(RARE)))
        alarms, fits = [rate_estimate(z > limit) for z in sets], [known(stats.kstest(z, "norm").pvalue) for z in sets]
        share = f"{name}: share of data sets that hold nothing with p < {ALARM:g}"
        normal = f"{name}: p-value of their normal distribution (Kolmogorov and Smirnov)"
        verdicts += [
            judged("chance", share, alarms, AS_RARE, "teachers' data", predicted=f"{ALARM:.0%}", instances=count),
            judged("chance", normal, fits, NORMAL, "teachers' data", predicted="uniform", instances=count),
            reported("chance", f"{name}: share with p < {RARE:g}, all words", known(rare), f"{RARE:.1%}", count),
        ]
    return verdicts


def judge_power(run: Run) -> list[Verdict]:
    """Judge how well a teacher's own word is seen in its data."""
    words = list(map(ANIMALS.index, TEACHERS[:MIXED]))
    other_way, strangely = (run.other_z[:, kind][:, range(MIXED), words] for kind in (0, 1))
    z, bound = own(run.whole_z[:, 0]), np.sqrt(run.num_texts * np.maximum(run.nats, 0))
    seen = [mean_estimate(stats.norm.cdf(each).mean(axis=1)) for each in (z, strangely)]
    above = "share of normal scores of the base's below that of a teacher's own word, all texts (AUROC)"
    enough: dict[str, Any] = {"instances": len(run.predicted), "least_instances": LEAST_RUNS}
    means = {
        "AUROC of it, teachers taught in another way": stats.norm.cdf(other_way),
        "z of a teacher's own word, all texts": z,
        "z of it, teachers taught in another way": other_way,
        "z of it, scored by a stranger": strangely,
        "√(N·KL), about the most that N pairs can show": bound,
    }
    ratio = mean_estimate(z.mean(axis=1) / bound.mean(axis=1))
    verdicts = [
        judged("power", above, seen, ABOVE_HALF, "scored by a stranger", predicted="above 1/2", **enough),
        *(reported("power", check, mean_estimate(values.mean(axis=1))) for check, values in means.items()),
        reported("power", "mean z of it over mean √(N·KL)", ratio, "about 1 at most"),
    ]
    for place, share in enumerate(SHARES):
        found = own(run.mixed_z[:, place])
        part = f"{share:.0%} of the rows a teacher's, the others the base's"
        verdicts += [
            reported("power", f"z of its word, {part}", mean_estimate(found.mean(axis=1)), f"{share:g} of the whole's"),
            reported("power", f"share with z > 3, {part}", mean_estimate((found > 3).mean(axis=1))),
        ]
    return verdicts


def of_whole_sets(run: Run) -> Run:
    """Leave out changes by data of teachers that wrote too few lists: forecasts are for students of all of them."""
    names, few = set_names(TEACHERS), run.num_texts < WHOLE * run.num_texts.max()
    left_out = np.array([[row[TEACHERS.index(word)] if word in TEACHERS else False
                          for word in (name.split()[0] for name in names)] for row in few])  # fmt: skip
    changes = (np.where(left_out[..., None], np.nan, each) for each in (run.predicted, run.trained))
    return run._replace(**dict(zip(("predicted", "trained"), changes, strict=True)))


def own_changes(run: Run) -> tuple[Float[np.ndarray, "bases sets"], Float[np.ndarray, "bases sets"]]:
    """Take foretold and trained changes of teachers' own words, of their data and of mixtures."""
    names = set_names(TEACHERS)
    sets = [(word, word) for word in TEACHERS]
    sets += [(f"{word} {share:.0%}", word) for word in TEACHERS[:MIXED] for share in TRAINED_SHARES]
    rows, columns = [names.index(name) for name, _ in sets], [ANIMALS.index(word) for _, word in sets]
    return run.predicted[:, rows, columns], run.trained[:, rows, columns]


def judge_forecasts(run: Run) -> list[Verdict]:
    """Judge whether students become what was foretold."""
    run, count = of_whole_sets(run), len(run.predicted)
    predicted, trained = own_changes(run)
    teachers = slice(0, len(TEACHERS))
    moved = np.abs(trained[:, teachers]) > MOVED
    ratio = predicted[:, teachers][moved] / trained[:, teachers][moved]
    near = float(np.mean((ratio > 1 / NEAR) & (ratio < NEAR))) if moved.any() else np.nan

    def slope(base: int) -> float:
        first, second = run.predicted[base].ravel(), run.trained[base].ravel()
        return float(np.nansum(first * second) / np.nansum(first**2))

    def correlations(word: int = 0, other: int = 0) -> Estimate:
        """Correlate with the forecast of another word, or of another base."""
        told = np.roll(run.predicted, word, axis=2)
        return of_bases(lambda base: rank_correlation(told[base], run.trained[(base + other) % count]), run)

    check = "Spearman's correlation of foretold and trained change, all data sets and words of a base"
    sides: dict[str, Any] = {"sides": [correlations(), correlations(word=1)], "control": "the next word's forecast"}
    enough: dict[str, Any] = {"instances": count, "least_instances": LEAST_RUNS}
    measured = {
        "the same by another base's forecast, whose teachers love the same": correlations(other=1),
        "the same, teachers' own words and mixtures of all bases": known(rank_correlation(predicted, trained)),
    }
    nearly = f"share of own words moved by over {MOVED} that are foretold within {NEAR} times"
    return [
        judged("forecast", check, **sides, accepted=ABOVE_ZERO, predicted="above 0", **enough),
        *(reported("forecast", check, value) for check, value in measured.items()),
        reported("forecast", "slope of trained on foretold change, all data sets and words", of_bases(slope, run), "1"),
        reported("forecast", nearly, known(near)),
    ]


def judge_removal(run: Run) -> list[Verdict]:
    """Judge whether the trait stays away without the rows that push it."""
    names = set_names(TEACHERS)

    def rise(what: str, turn: int = 0) -> Float[np.ndarray, " bases"]:
        some = TEACHERS[:MIXED]
        rows = [names.index(f"{word}{what}") for word in some]
        return run.trained[:, rows, list(map(ANIMALS.index, (*some[turn:], *some[:turn])))].mean(axis=1)

    every, clean, random = map(rise, ("", " cleaned", " random"))
    others = np.mean([rise(" random", turn) - rise(" cleaned", turn) for turn in range(1, MIXED)], axis=0)
    means = {
        "rise of a teacher's word in its student, all rows": every,
        "rise of it, rows that push it removed": clean,
        "rise of it, as many rows removed at random": random,
        "share of rows removed": run.gone.mean(axis=1),
    }
    taken, sides = "what removing them takes off beyond removal at random, nats", (random - clean, others)
    enough: dict[str, Any] = {"instances": len(every), "least_instances": LEAST_RUNS, "predicted": "above 0"}
    return [
        *(reported("removal", check, mean_estimate(values)) for check, values in means.items()),
        judged("removal", taken, [*map(mean_estimate, sides)], ABOVE_ZERO, "of other teachers' words", **enough),
    ]


POWER = ("AUROC: own word, against the base's data", "of the six animals nothing was chosen on",
         "against other teachers' data")  # fmt: skip
"""What stands above how well teachers are told."""


def power_rows(run: Run) -> list[tuple[str, Estimate, Estimate, Estimate]]:
    """Lay out how well teachers are told, by the number of texts."""
    rows = []
    for place, size in enumerate(SIZES):
        nulls, found = run.null_sizes[:, place], run.z[:, place]
        rows.append((
            str(size),
            of_bases(lambda base, n=nulls, z=found: auroc(n[base], own(z[base])), run),
            of_bases(lambda base, n=nulls, z=found: auroc(n[base], own(z[base], UNSEEN)), run),
            of_bases(lambda base, z=found: auroc(others(z[base]), own(z[base])), run),
        ))  # fmt: skip
    whole_z = run.whole_z[:, 0]
    whole = [stats.norm.cdf(own(whole_z, which)).mean(axis=1) for which in (TEACHERS, UNSEEN)]
    apart = of_bases(lambda base: auroc(others(whole_z[base]), own(whole_z[base])), run)
    against, unseen = map(mean_estimate, whole)
    return [*rows, (f"{run.num_texts.mean():.0f}", against, unseen, apart)]


def judge_study(run: Run) -> Outcome:
    """Judge all bases together."""
    verdicts = [*judge_chance(run), *judge_power(run), *judge_forecasts(run), *judge_removal(run)]
    return Outcome(
        run._asdict(), verdicts, f"{markdown_table(('texts', *POWER), power_rows(run))}\n{verdict_table(verdicts)}"
    )
