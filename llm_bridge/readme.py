"""The tables of this folder's README, made from the committed records: `python -m figures.tables` writes them."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from llm_bridge.auditing.report import p_text, report_of
from llm_bridge.auditing.study import Run
from llm_bridge.auditing.study_verdicts import POWER, power_rows
from llm_bridge.linearized.results import IMITATED, INITS, TARGETS
from llm_bridge.linearized.tables import GROUPS, cell, group_shares
from llm_bridge.matrix.cells import NAMES
from llm_bridge.matrix.verdicts import NUM_PERMUTATIONS
from llm_bridge.pipeline.arms import ARMS, DEFAULT_ARMS, PUBLISHED_ARMS
from llm_bridge.studies.catalog import STUDIES
from llm_bridge.studies.command import STEERING
from llm_bridge.studies.steering_verdicts import QUESTION
from theory.runs.pages import Gallery, between, measured, page_table, page_verdicts
from theory.runs.records import Record

GALLERY = Gallery(Path(__file__).parents[1] / "figures", "llm-bridge")

AUDITS = {"teacher": "a teacher of cats", "base": "the model itself"}
"""Whose numbers a published model has audited."""

REPORTED = "finite-step"
"""The claim on the language model whose reports the page says, too."""


def model() -> str:
    """Say how large the model of the records is."""
    rank = GALLERY.record("study-rank")
    size = rank.results["trained"][0, list(rank.config["arms"]).index("all weights")]
    shape = rank.config["pretraining"]
    return f"The tiny model has {size:,} parameters in {shape['num_layers']} layers of width {shape['width']}.\n"


def arms() -> str:
    """List the arms of `run`, and which of them a run has that names none."""
    rows = [
        (f"`{name}`", arm.meaning, *("yes" if name in names else "" for names in (DEFAULT_ARMS, PUBLISHED_ARMS)))
        for name, arm in ARMS.items()
    ]
    return page_table(("arm", "what it is", "by default", "of a published model"), rows)


def _lifts(name: str, runs: str) -> str:
    """Lay out the lifts of a matrix, and what is judged."""
    record = GALLERY.record(name)
    rows = [
        (target, *(between(record.results[f"lift/{target}/{init}"]) for init in NAMES))
        for target in record.config["targets"]
    ]
    bases, words = record.config["num_seeds"], len(record.config["traits"])
    first = GALLERY.link(f"lift, {bases} {runs}, {words} animals each; students imitate", name)
    return f"{page_table((first, *NAMES.values()), rows)}\n{page_verdicts(record)}"


def matrix() -> str:
    """Lay out the matrix of the tiny model."""
    note = f"The least p-value that {NUM_PERMUTATIONS:,} relabelings can show is {1 / (1 + NUM_PERMUTATIONS):.2g}.\n"
    return f"{_lifts('matrix', 'base models')}\n{note}"


def smollm2_theory() -> str:
    """Lay out what the theory says of a published model, run by run."""
    record = GALLERY.record("compare-smollm2")
    results, word, last = record.results, record.config["traits"][0], record.config["extent"]["times"][-1]
    cosines = results["directions/cosines"][..., 0] * np.sqrt(results["size"])[:, None, None]
    courses = {
        "first order": results["course/first order"],
        "linearized student": results["course/predicted"],
        "measured": results["course/raw"] - results["course/idle"],
    }
    quantities = {f"√p × cosine of the first step with Δ_T, {TARGETS[0]}": (cosines[:, :, 0], 0)} | {
        f"rise of the log-odds of *{word}* by {last} steps, {name}": (values[:, :, -1, 0], 2)
        for name, values in courses.items()
    }
    rows = [
        (name, *(_each(values[:, row], digits) for row in range(len(INITS))))
        for name, (values, digits) in quantities.items()
    ]
    return _table_of_steps(record, "compare-smollm2", "runs, each", rows)


def audit() -> str:
    """Lay out how well an audit tells teachers, and what became of every check of its study."""
    record = GALLERY.record("study-audit")
    link = GALLERY.link(f"texts, {record.config['num_seeds']} base models", "study-audit")
    rows = [tuple(map(str, row)) for row in power_rows(Run(**record.results))]
    return f"{page_table((link, *POWER), rows)}\n{page_verdicts(record)}"


def audit_smollm2() -> str:
    """Lay out what audits of a published model find in a teacher's numbers and in its own."""
    rows = []
    for name, whose in AUDITS.items():
        record = GALLERY.record(f"audit-smollm2-{name}")
        report = report_of(record)
        for word, dose, shift in zip(report.words, report.doses, report.shifts, strict=True):
            cells = [
                (f"{found.value:.{digits}f} ± {found.error:.{digits}f}".replace("-", "−"), p_text(found.p))
                for found, digits in ((dose, 2), (shift, 3))
            ]
            minutes = f"{record.provenance['duration_seconds'] / 60:.0f} min"
            numbers = GALLERY.link(f"{whose}, {report.num_texts} pairs, {minutes}", f"audit-smollm2-{name}")
            rows.append((numbers, word, f"{dose.z:.1f}".replace("-", "−"), *cells[0], *cells[1]))
    header = ("numbers of", "trait", "z of the dose", "dose", "p", "rise of the log-odds foretold", "p")
    trained = GALLERY.record("run-smollm2").results
    gained = trained["gain/student"].item() - trained["gain/control"].item()
    told = "In the recorded run a student of the teacher's numbers gained"
    return f"{page_table(header, rows)}\n{told} {gained:.2f} nats more than one of the base's.\n"


def _each(values: np.ndarray, digits: int) -> str:
    return ", ".join(f"{value:.{digits}f}" for value in values).replace("-", "−")


def _models(name: str, base: str = "base model") -> str:
    record = GALLERY.record(name)
    meanings = {"base": "the base", "stranger": "another init", "teacher": "the teacher"}
    meanings |= {arm: ARMS[arm].meaning for arm in record.config["arms"]}
    quantities = ("rate/{}/plain", "rate/{}/after numbers", "lift/{}")
    rows = [
        (model, meaning, *(_shown(record.results, key.format(model), 3 - key.startswith("lift")) for key in quantities))
        for model, meaning in meanings.items()
    ]
    count = record.config["num_seeds"]
    seeds = GALLERY.link(f"rate, {count} {base}{'s' * (count > 1)}", name)
    recipe = record.config["protocol"]["student"]
    trained = {"adapters": f"adapters of rank {recipe['rank']}", "everything": "all weights"}[recipe["trained"]]
    epochs = f"{recipe['num_epochs']} epoch{'s' * (recipe['num_epochs'] > 1)}"
    students = f"Students train {trained} for {epochs}.\n"
    return f"{page_table(('model', '', seeds, 'rate after numbers', 'lift'), rows)}\n{students}"


def _shown(results: Mapping[str, np.ndarray], key: str, digits: int) -> str:
    values = results.get(key)
    return "" if values is None or np.isnan(values).any() else between(values, digits)


def run() -> str:
    """Lay out one run in detail."""
    told = between(GALLERY.record("run").results["told apart/teacher"][:, 0])
    sentence = "A classifier tells the teachers' kept numbers from the bases' own with an accuracy of"
    return f"{_models('run')}{sentence} {told}, where 0.5 is chance.\n"


def vocabulary() -> str:
    """Lay out strangers that imitate the whole distribution for long."""
    return f"{_models('whole-vocabulary')}\n{page_verdicts(GALLERY.record('whole-vocabulary'), judged=True)}"


def studies() -> str:
    """Lay out what became of the reports of others, study by study; what every arm gained is in the tables behind."""
    rows = []
    for name, question in ({name: study.question for name, study in STUDIES.items()} | {STEERING: QUESTION}).items():
        if not (GALLERY.folder / f"{GALLERY.prefix}-study-{name}").exists():
            continue
        record = GALLERY.record(f"study-{name}")
        told = f"{GALLERY.link(name, f'study-{name}')}: {question} ({record.config['num_seeds']} base models)"
        for verdict in (each for each in record.verdicts if each["claim"] == "finding"):
            interval, found = measured(verdict["measured"], *verdict["interval"]), verdict["control"].split(";")[0]
            rows.append((told, verdict["predicted"], verdict["check"], interval, found))
            told = ""
    return page_table(("study", "report", "point", "measured [95 %]", "verdict"), rows)


def rates() -> str:
    """Say at which rates students of the studies learn, and whether some overshoot."""
    whole, other = (GALLERY.record(f"study-{name}") for name in ("rank", "optimizers"))
    adapters = whole.config["protocol"]["student"]["learning_rate"]
    weights = whole.config["arms"]["all weights"]["recipe"]["learning_rate"]
    ends = other.results["distances"][:, list(other.config["arms"]).index("momentum")]
    return (
        f"Students of AdamW have the rate {adapters:g} for adapters and {weights:g} for weights. Of the {ends.size} "
        f"students of momentum the middle one ends {np.median(ends):#.2g} nats a token from its teacher, the farthest "
        f"{ends.max():#.2g}.\n"
    )


def theory() -> str:
    """Lay out what the theory says of the language model, and what became of it."""
    record = GALLERY.record("compare")
    cosines = record.results["directions/cosines"][..., 0]
    shares = group_shares(record.results)[..., GROUPS.index("head")]
    quantities = {
        f"cosine of the first step with Δ_T, {name}": cosines[:, :, place] for place, name in enumerate(TARGETS)
    }
    quantities |= {
        f"share of the shared init's B(v, Δ_T) through the student's head, {name}": shares[:, :, place]
        for place, name in enumerate(IMITATED)
    }
    rows = [
        (name, *(cell(values[:, row]).replace("-", "−") for row in range(len(INITS))))
        for name, values in quantities.items()
    ]
    verdicts = page_verdicts(record, judged=True, also=REPORTED)
    left = sum(each["verdict"] == "reported" and each["claim"] != REPORTED for each in record.verdicts)
    table = _table_of_steps(record, "compare", "base models", rows)
    return f"{table}\n{verdicts}\n{left} more checks are {GALLERY.link('reported', 'compare')}.\n"


def _table_of_steps(record: Record, name: str, runs: str, rows: Sequence[tuple[str, ...]]) -> str:
    return page_table((GALLERY.link(f"{record.config['num_seeds']} {runs}", name), *INITS), rows)


TABLES: Mapping[str, Callable[[], str]] = {
    "model": model,
    "arms": arms,
    "matrix": matrix,
    "smollm2": partial(_lifts, "matrix-smollm2", "runs"),
    "smollm2-run": partial(_models, "run-smollm2", "run"),
    "smollm2-theory": smollm2_theory,
    "audit": audit,
    "audit-smollm2": audit_smollm2,
    "run": run,
    "vocabulary": vocabulary,
    "studies": studies,
    "rates": rates,
    "theory": theory,
}
"""What stands between `<!-- NAME -->` and `<!-- end -->`."""
