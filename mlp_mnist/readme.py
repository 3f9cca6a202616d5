"""The tables of this folder's README, made from the committed records: `python -m mlp_mnist.readme` writes them."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlp_mnist.arms import COMPARED_INITS, PUBLISHED, SCRIPT_SEEDS
from mlp_mnist.studies import STUDIES
from theory.runs.files import write_whole
from theory.runs.records import Record, read_record
from theory.runs.statistics import Estimate, mean_estimate

README = Path(__file__).with_name("README.md")
GALLERY = Path(__file__).parents[1] / "figures"

REPORTED = ("finding", "precision", "alignment")
"""Claims of a study whose verdicts the table of studies says."""


def _record(name: str) -> Record:
    return read_record(GALLERY / f"mlp-mnist-{name}")


def _link(text: str, name: str) -> str:
    return f"[{text}](../figures/mlp-mnist-{name}/table.md)"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in (header, ["---"] * len(header), *rows))


def _mean(values: np.ndarray) -> str:
    mean, _, high = mean_estimate(values)
    return f"{mean:.3f} ± {high - mean:.3f}".replace("-", "−")


def _measured(value: float, low: float, high: float) -> str:
    return str(Estimate(value, low, high)).replace("-", "−")


def _verdicts(record: Record, *, judged: bool = False) -> str:
    """Lay out the verdicts of a record as they were recorded: all, or those that hold or fail."""
    rows = []
    for verdict in record.verdicts:
        if judged and verdict["verdict"] == "reported":
            continue
        control = verdict["control"]
        if verdict["control_measured"]:
            control += f": {_measured(*verdict['control_measured'])}"
        measured = _measured(verdict["measured"], *verdict["interval"])
        rows.append((verdict["check"], verdict["predicted"], measured, control, verdict["verdict"]))
    return _table(("check", "predicted", "measured", "control", "verdict"), rows)


def arms() -> str:
    """Lay out the paper's six arms, here and elsewhere."""
    record = _record("demo")
    header = (
        "arm",
        _link(f"here, {record.config['num_seeds']} seeds", "demo"),
        "paper, 100 seeds",
        f"published script, {SCRIPT_SEEDS} seeds",
    )
    rows = [
        (name, _mean(record.results[f"accuracy/{name}"]), f"{other.paper:g}", f"{other.script:.3f} ± {other.reach:.3f}")
        for name, other in PUBLISHED.items()
    ]
    return f"{_table(header, rows)}\n{_verdicts(record)}"


def inits() -> str:
    """Lay out students by auxiliary logits of every kind of init."""
    record = _record("compare-inits")
    seeds = _link(f"test accuracy, {record.config['num_seeds']} seeds", "compare-inits")
    rows = [
        (name, *(_mean(record.results[f"{quantity}/{name} (aux)"]) for quantity in ("accuracy", "cosine")))
        for name in COMPARED_INITS
    ]
    header = ("student's init", seeds, "cosine with the teacher's displacement")
    return f"{_table(header, rows)}\n{_verdicts(record)}"


def studies() -> str:
    """Lay out every study, and what became of the reports of others."""
    rows = []
    for name, study in STUDIES.items():
        record = _record(name)
        points = [f"{label}: {_mean(record.results[f'accuracy/{label}'])}" for label in record.config["points"]]
        reports = [_report(verdict) for verdict in record.verdicts if verdict["claim"] in REPORTED]
        seeds = str(record.config["num_seeds"])
        rows.append((_link(name, name), study.question, seeds, "; ".join(points), "; ".join(reports)))
    return _table(("study", "question", "seeds", "test accuracy", "reports of others, and what else is judged"), rows)


def _report(verdict: dict[str, Any]) -> str:
    """Say what became of a report or a prediction, and by how much two points differ where it compares them."""
    if verdict["claim"] != "finding":
        return f"{verdict['check']}: *{verdict['verdict']}*, {_measured(verdict['measured'], *verdict['interval'])}"
    differs = f", {_measured(verdict['measured'], *verdict['interval'])}" if " − " in verdict["check"] else ""
    return f"{verdict['predicted']}: *{verdict['control']}*{differs}"


def theory() -> str:
    """Lay out predicted and trained students over the number of auxiliary logits."""
    record = _record("theory")
    results, places = record.results, range(len(record.config["numbers"]))
    predicted = {
        "share of the teacher's displacement transferred, predicted": results["linearized/transfer"][..., -1],
        "accuracy of the network at the predicted parameters": results["linearized/accuracies"][..., 1],
        "accuracy of the linearized network there": results["linearized/accuracies"][..., 0],
    }
    trained = {
        "the same, trained": results["student/transfer"][..., -1],
        "accuracy, trained": results["student/accuracy"][..., -1],
    }
    rows = {name: [f"{values[:, place].mean():.3f}" for place in places] for name, values in predicted.items()}
    rows |= {name: [_mean(values[:, place]) for place in places] for name, values in trained.items()}
    share, network, linearized, same, accuracy = ((name, *cells) for name, cells in rows.items())
    header = (_link("auxiliary logits", "theory"), *map(str, record.config["numbers"]))
    table = _table(header, (share, same, network, linearized, accuracy))
    reports = sum(verdict["verdict"] == "reported" for verdict in record.verdicts)
    return f"{table}\n{_verdicts(record, judged=True)}\n{reports} more checks are {_link('reported', 'theory')}.\n"


TABLES: dict[str, Callable[[], str]] = {"arms": arms, "inits": inits, "studies": studies, "theory": theory}
"""What stands between `<!-- NAME -->` and `<!-- end -->`."""


def filled(text: str) -> str:
    """Fill in the tables."""

    def fill(block: re.Match[str]) -> str:
        return f"<!-- {block[1]} -->\n\n{TABLES[block[1]]()}\n<!-- end -->"

    return re.sub(r"<!-- (\w+) -->\n.*?<!-- end -->", fill, text, flags=re.DOTALL)


if __name__ == "__main__":
    write_whole(README, filled(README.read_text(encoding="utf-8")).encode())
