"""How time and memory grow on two rungs: with seeds, beside the ideal line, and with devices and processes."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mlp_mnist.data import TITLES
from theory.benchmark.growth import ALONE, Way
from theory.runs.memory import gibibytes
from theory.runs.records import Outcome, Record
from theory.runs.statistics import range_estimate
from theory.runs.verdicts import markdown_table

THEORY, DIGITS = "theory-benchmark", "mlp-mnist-benchmark"
"""Folders of what is read."""

SHARED = {"devices": "devices of one process", "processes": "processes of one device"}
"""Among what the seeds of random networks are shared out."""


class Curve(NamedTuple):
    """Time and memory of one kind of run over the number of seeds."""

    seeds: np.ndarray
    """Numbers of seeds, in increasing order, shape `(counts,)`."""
    seconds: np.ndarray
    """Seconds of each run, once it is compiled, shape `(repetitions, counts)`."""
    memory: np.ndarray
    """Peak bytes of the process, from its start to after its first run of so many, shape `(counts,)`."""
    at_once: np.ndarray
    """Seeds of a full chunk, below which there is nothing to gain, shape `()`."""

    @property
    def ideal(self) -> np.ndarray:
        """Seconds in proportion to the seeds, from one full chunk on, as the largest run's median has it."""
        chunks = np.maximum(self.seeds, self.at_once)
        return np.median(self.seconds[:, -1]) * chunks / chunks[-1]


def is_measured(records: Mapping[str, Record]) -> bool:
    """Say whether both benchmarks are there and have measured growth.

    Args:
        records: Records by folder.

    Returns:
        Whether there is something to show.
    """
    there = THEORY in records and DIGITS in records
    return there and "growth/cores" in records[THEORY].results and "at once" in records[DIGITS].results


def growth(records: Mapping[str, Record]) -> Outcome:
    """Put the growth of both rungs side by side.

    Args:
        records: Records by folder, of which both benchmarks are there.

    Returns:
        The outcome: arrays named `curve/CURVE/FIELD`, and for devices and processes `shared/KIND/number` and
        `shared/KIND/times`, how many times as fast as one they are; no verdict; tables.
    """
    results = {
        f"curve/{name}/{field}": values
        for name, curve in curves_of(records).items()
        for field, values in curve._asdict().items()
    }
    theory = records[THEORY]
    alone = theory.results[f"growth/{ALONE.name}/seconds"][:, -1]
    for kind in SHARED:
        numbers = sorted({1, *theory.config[kind]})
        ways = [Way(number) if kind == "devices" else Way(processes=number) for number in numbers]
        results[f"shared/{kind}/number"] = np.array(numbers)
        ratios = [alone / theory.results[f"growth/{way.name}/seconds"][:, -1] for way in ways]
        results[f"shared/{kind}/times"] = np.stack(ratios, axis=1)
    results["cores"] = theory.results["growth/cores"]
    return Outcome(results, [], f"{curve_table(read_curves(results))}\n{shared_table(results)}")


def curves_of(records: Mapping[str, Record]) -> dict[str, Curve]:
    """Read the curves of both rungs.

    Args:
        records: Records by folder.

    Returns:
        The curves, by what they are called.
    """
    theory, digits = records[THEORY], records[DIGITS]
    seconds, memory = (theory.results[f"growth/{ALONE.name}/{kind}"] for kind in ("seconds", "memory"))
    seeds, at_once = np.array(theory.config["num_seeds"]), theory.results["growth/at once"]
    curves = {"random networks": Curve(seeds, seconds, memory, at_once)}
    for name in digits.config["precisions"]:
        seconds, memory = (digits.results[f"{kind}/{name}"] for kind in ("seconds", "memory"))
        seeds = np.array(digits.config["num_seeds"])
        curves[f"{TITLES[digits.config['data']]}, {name}"] = Curve(seeds, seconds, memory, digits.results["at once"])
    return curves


def read_curves(results: Mapping[str, np.ndarray]) -> dict[str, Curve]:
    """Read the curves back from the arrays of `growth`.

    Args:
        results: The arrays.

    Returns:
        The curves, by what they are called.
    """
    names = dict.fromkeys(name.split("/")[1] for name in results if name.startswith("curve/"))
    return {name: Curve(*(results[f"curve/{name}/{field}"] for field in Curve._fields)) for name in names}


def curve_table(curves: Mapping[str, Curve]) -> str:
    """Lay out the curves.

    Args:
        curves: By what they are called.

    Returns:
        A Markdown table.
    """
    header = ("rung", "seeds", "seconds [range]", "ideal", "in the ideal's", "peak memory so far")
    rows: list[Sequence[object]] = []
    for name, curve in curves.items():
        usual = np.median(curve.seconds, axis=0)
        for place, count in enumerate(curve.seeds):
            low, high = (f"{end(curve.seconds[:, place]):.3g}" for end in (np.min, np.max))
            seconds, ideal = f"{usual[place]:.3g} [{low}, {high}]", f"{curve.ideal[place]:.3g}"
            share = f"{usual[place] / curve.ideal[place]:.2f}"
            rows.append((name, count, seconds, ideal, share, gibibytes(curve.memory[place])))
    return markdown_table(header, rows)


def shared_table(results: Mapping[str, np.ndarray]) -> str:
    """Lay out how many times as fast several devices and processes are.

    Args:
        results: The arrays of `growth`.

    Returns:
        A Markdown table.
    """
    cores = int(results["cores"])
    rows = [
        (label, number, str(range_estimate(times)), min(number, cores))
        for kind, label in SHARED.items()
        for number, times in zip(
            results[f"shared/{kind}/number"].tolist(), results[f"shared/{kind}/times"].T, strict=True
        )
    ]
    return markdown_table(("random networks on", "number", "times as fast", f"ideal, {cores} cores"), rows)
