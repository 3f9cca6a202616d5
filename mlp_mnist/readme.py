"""The tables of this folder's README, made from the committed records: `python -m figures.tables` writes them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlp_mnist.arms import COMPARED_INITS, PUBLISHED, SCRIPT_SEEDS
from mlp_mnist.studies import STUDIES
from theory.runs.pages import Gallery, measured, page_table, page_verdicts
from theory.runs.statistics import mean_estimate

GALLERY = Gallery(Path(__file__).parents[1] / "figures", "mlp-mnist")

REPORTED = ("finding", "precision", "alignment")
"""Claims of a study whose verdicts the table of studies says."""


def _mean(values: np.ndarray) -> str:
    mean, _, high = mean_estimate(values)
    return f"{mean:.3f} ± {high - mean:.3f}".replace("-", "−")


def arms() -> str:
    """Lay out the paper's six arms, here and elsewhere."""
    record = GALLERY.record("demo")
    header = (
        "arm",
        GALLERY.link(f"here, {record.config['num_seeds']} seeds", "demo"),
        "paper, 100 seeds",
        f"published script, {SCRIPT_SEEDS} seeds",
    )
    rows = [
        (name, _mean(record.results[f"accuracy/{name}"]), f"{other.paper:g}", f"{other.script:.3f} ± {other.reach:.3f}")
        for name, other in PUBLISHED.items()
    ]
    return f"{page_table(header, rows)}\n{page_verdicts(record)}"


def inits() -> str:
    """Lay out students by auxiliary logits of every kind of init."""
    record = GALLERY.record("compare-inits")
    seeds = GALLERY.link(f"test accuracy, {record.config['num_seeds']} seeds", "compare-inits")
    rows = [
        (name, *(_mean(record.results[f"{quantity}/{name} (aux)"]) for quantity in ("accuracy", "cosine")))
        for name in COMPARED_INITS
    ]
    header = ("student's init", seeds, "cosine with the teacher's displacement")
    return f"{page_table(header, rows)}\n{page_verdicts(record)}"


def studies() -> str:
    """Lay out every study, and what became of the reports of others."""
    rows = []
    for name, study in STUDIES.items():
        record = GALLERY.record(name)
        points = [f"{label}: {_mean(record.results[f'accuracy/{label}'])}" for label in record.config["points"]]
        reports = [_report(verdict) for verdict in record.verdicts if verdict["claim"] in REPORTED]
        seeds = str(record.config["num_seeds"])
        rows.append((GALLERY.link(name, name), study.question, seeds, "; ".join(points), "; ".join(reports)))
    return page_table(
        ("study", "question", "seeds", "test accuracy", "reports of others, and what else is judged"), rows
    )


def _report(verdict: dict[str, Any]) -> str:
    """Say what became of a report or a prediction, and by how much two points differ where it compares them."""
    if verdict["claim"] != "finding":
        return f"{verdict['check']}: *{verdict['verdict']}*, {measured(verdict['measured'], *verdict['interval'])}"
    differs = f", {measured(verdict['measured'], *verdict['interval'])}" if " − " in verdict["check"] else ""
    return f"{verdict['predicted']}: *{verdict['control']}*{differs}"


def theory() -> str:
    """Lay out predicted and trained students over the number of auxiliary logits."""
    record = GALLERY.record("theory")
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
    header = (GALLERY.link("auxiliary logits", "theory"), *map(str, record.config["numbers"]))
    table = page_table(header, (share, same, network, linearized, accuracy))
    reports = sum(verdict["verdict"] == "reported" for verdict in record.verdicts)
    more = f"{reports} more checks are {GALLERY.link('reported', 'theory')}.\n"
    return f"{table}\n{page_verdicts(record, judged=True)}\n{more}"


TABLES: Mapping[str, Callable[[], str]] = {"arms": arms, "inits": inits, "studies": studies, "theory": theory}
"""What stands between `<!-- NAME -->` and `<!-- end -->`."""
