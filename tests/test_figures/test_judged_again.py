"""The gate: every committed record, judged again from its numbers alone, has the verdicts that are committed."""

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest

from figures.exhibits import EXHIBITS
from figures.ladder import ladder
from llm_bridge.auditing.report import report_of, verdicts_of
from llm_bridge.auditing.study import Run as AuditRun
from llm_bridge.auditing.study_verdicts import judge_study as judge_audits
from llm_bridge.benchmark.report import judge as judge_language_speed
from llm_bridge.linearized.extent import Extent
from llm_bridge.linearized.verdicts import judge_compare
from llm_bridge.matrix.cells import Run as MatrixRun
from llm_bridge.matrix.verdicts import judge as judge_matrix
from llm_bridge.pipeline.report import judge as judge_arms
from llm_bridge.studies.bases import Run as StudyRun
from llm_bridge.studies.catalog import STUDIES as LANGUAGE_STUDIES
from llm_bridge.studies.steering import Run as SteeringRun
from llm_bridge.studies.steering_verdicts import judge_steering
from llm_bridge.studies.verdicts import judge as judge_study
from mlp_mnist.protocol import read_protocol
from mlp_mnist.studies import STUDIES, Finding
from mlp_mnist.study_verdicts import judge_sweep
from mlp_mnist.theory_verdicts import judge_linearization
from mlp_mnist.verdicts import judge_comparison, judge_demo, judge_speed
from theory.claim import all_claims
from theory.runs.records import Record, read_record
from theory.runs.verdicts import Verdict

GALLERY = Path(__file__).parents[2] / "figures"
COMPARED = ("measured", "interval", "control_measured", "control_flips", "instances", "verdict", "predicted", "control")


def restore(kind: Any, values: Any) -> Any:
    """Make a configuration again from its JSON."""
    if not is_dataclass(kind) or not isinstance(kind, type):
        return tuple(values) if isinstance(values, list) else values
    hints = get_type_hints(kind)
    known = {field.name for field in fields(kind)} & set(values)
    return kind(**{name: restore(hints[name], values[name]) for name in known})


def judge_claims(record: Record) -> list[Verdict]:
    judged = [all_claims()[name] for name in record.config["claims"]]
    return [verdict for claim in judged for verdict in claim.judge(claim.read(record))]


def judge_points(record: Record) -> Sequence[Verdict]:
    points = {label: read_protocol(point) for label, point in record.config["points"].items()}
    findings = [Finding(**finding) for finding in record.config["findings"]]
    return judge_sweep(record.results, points, findings, STUDIES[record.config["study"]].equal).verdicts


def judge_traits(record: Record) -> Sequence[Verdict]:
    config, results = record.config, record.results
    students = np.stack([results[f"students/{target}"] for target in config["targets"]], axis=1)
    run = MatrixRun(results["teachers"], students, results["predicted"], results["kept"])
    return judge_matrix(run, config["targets"], config["traits"]).verdicts


def judge_language_study(record: Record) -> Sequence[Verdict]:
    if record.config["study"] == "audit":
        return judge_audits(AuditRun(**record.results)).verdicts
    if record.config["study"] == "steering":
        return judge_steering(SteeringRun(**record.results)).verdicts
    run = StudyRun(*(record.results[name] for name in StudyRun._fields))
    return judge_study(LANGUAGE_STUDIES[record.config["study"]], run).verdicts


JUDGES: dict[str, Callable[[Record], Sequence[Verdict]]] = {
    "theory verify": judge_claims,
    "mlp_mnist demo": lambda record: judge_demo(record.results, published=True).verdicts,
    "mlp_mnist compare-inits": lambda record: judge_comparison(record.results).verdicts,
    "mlp_mnist study": judge_points,
    "mlp_mnist theory": lambda record: judge_linearization(record.results, record.config["numbers"]).verdicts,
    "mlp_mnist benchmark": lambda record: (
        judge_speed(record.results, record.config["num_seeds"], record.config["precisions"]).verdicts
    ),
    "llm_bridge benchmark": lambda record: judge_language_speed(record.config["batch_sizes"][-1], record.results),
    "llm_bridge run": lambda record: judge_arms(
        record.results, record.config["arms"], matched=record.config.get("stranger", "").endswith(", rescaled")
    ),
    "llm_bridge matrix": judge_traits,
    "llm_bridge study": judge_language_study,
    "llm_bridge audit": lambda record: verdicts_of(report_of(record)),
    "llm_bridge compare": lambda record: (
        judge_compare(record.results, record.config["traits"], restore(Extent, record.config["extent"])).verdicts
    ),
}
"""From a record to its verdicts, by command. What `theory benchmark` compares is not kept: 20,000 numbers a way."""


def assert_same(verdicts: Sequence[Verdict], committed: Sequence[dict[str, Any]]) -> None:
    again = [verdict.record() for verdict in verdicts]
    assert [(each["claim"], each["check"]) for each in again] == [(each["claim"], each["check"]) for each in committed]
    for one, other in zip(again, committed, strict=True):
        for name in COMPARED:
            expected = other[name]
            if isinstance(expected, list | float):
                np.testing.assert_allclose(
                    np.array(one[name], float), np.array(expected, float), rtol=1e-9, atol=1e-12, err_msg=one["check"]
                )
            else:
                assert one[name] == expected, one["check"]


@pytest.mark.parametrize("folder", [one.folder for one in EXHIBITS if one.folder != "theory-benchmark"])
def test_a_committed_record_judged_again_has_its_verdicts(folder):
    record = read_record(GALLERY / folder)
    assert_same(JUDGES[record.config["command"]](record), record.verdicts)


def test_the_committed_ladder_judged_again_has_its_verdicts():
    records = {one.folder: read_record(GALLERY / one.folder) for one in EXHIBITS}
    assert_same(ladder(records).verdicts, read_record(GALLERY / "ladder").verdicts)


def test_a_record_with_another_number_has_other_verdicts():
    record = read_record(GALLERY / "mlp-mnist-demo")
    students = record.results["accuracy/student (aux)"].copy()
    students[0] += 0.01
    changed = record._replace(results=record.results | {"accuracy/student (aux)": students})
    with pytest.raises(AssertionError):
        assert_same(JUDGES["mlp_mnist demo"](changed), record.verdicts)
