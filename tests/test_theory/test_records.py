"""Run folders: the same bytes twice, skipped when finished, refused when another's, whole or not at all."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from theory.runs import provenance, records
from theory.runs.command_line import InputError, RunOptions
from theory.runs.files import figure_bytes
from theory.runs.records import FILES, PAGE, Outcome, Record, read_record, record_run, run_folder, write_whole
from theory.runs.statistics import Estimate
from theory.runs.verdicts import Accepted, Verdict, verdict_table

CONFIG = {"seed": 0, "steps": (1e-3, 1.0)}
REPEATABLE = [name for name in FILES if name != "provenance.json"]


@pytest.fixture(autouse=True)
def commit(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(provenance, "current_commit", lambda output: "0123456789ab+")
    return "0123456789ab+"


def outcome(low: float = 1.99) -> Outcome:
    measured = Estimate(2.0, low, np.inf if low < 0 else 2.01)
    verdict = Verdict(
        claim="alignment", check="Δ_S·Δ_T", predicted="2", measured=measured, accepted=Accepted(low=1.95, high=2.05)
    )
    results = {"alignment/reference/measured": np.arange(6.0).reshape(2, 3), "empty": np.array([np.nan])}
    return Outcome(results, [verdict], verdict_table([verdict]))


def draw(record: Record) -> Figure:
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot(record.results["alignment/reference/measured"][0], label=r"$\Delta$")
    return figure


def record(folder: Path, compute: Callable[[], Outcome] = outcome, *, fresh: bool = False, **config: Any) -> Record:
    return record_run("theory toy", RunOptions(output=folder, fresh=fresh), CONFIG | config, compute, draw)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def never() -> Outcome:
    raise AssertionError("computed again")


def test_folder_holds_what_it_should_and_nothing_else(tmp_path):
    record(tmp_path / "run")
    assert sorted(contents(tmp_path / "run")) == sorted(FILES)


def test_same_outcome_gives_the_same_bytes(tmp_path):
    record(tmp_path / "one")
    record(tmp_path / "two")
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert {name: one[name] == two[name] for name in REPEATABLE} == dict.fromkeys(REPEATABLE, True)


def test_pdf_carries_no_date_and_png_no_version(tmp_path):
    record(tmp_path)
    written = contents(tmp_path)
    assert b"/Producer" in written["figure.pdf"]
    assert b"CreationDate" not in written["figure.pdf"]
    assert b"Software" not in written["figure.png"]


def test_another_outcome_gives_other_bytes(tmp_path):
    record(tmp_path / "one")
    record(tmp_path / "two", lambda: outcome()._replace(results={"alignment/reference/measured": np.ones((2, 3))}))
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    changed = {name for name in REPEATABLE if one[name] != two[name]}
    assert changed == {"results.npz", "figure.png", "figure.pdf", "figure.svg", "index.html"}


def test_record_reads_back_as_it_was_written(tmp_path):
    written, read = record(tmp_path), read_record(tmp_path)
    assert read.verdicts == written.verdicts
    assert read.table == written.table
    assert read.provenance == json.loads(json.dumps(written.provenance))
    assert read.config == json.loads(json.dumps(written.config))
    assert sorted(read.results) == sorted(written.results)
    for name, array in written.results.items():
        np.testing.assert_array_equal(read.results[name], array)


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [([], True), (["holds", "reported"], True), (["holds", "fails", "reported"], False)],
    ids=["none", "none fails", "one fails"],
)
def test_a_single_failure_fails_the_run(verdicts, expected, tmp_path):
    judged = [{"verdict": verdict} for verdict in verdicts]
    assert Record(tmp_path, {}, {}, judged, "", {}).none_fails == expected


@pytest.mark.parametrize(("low", "expected"), [(1.99, True), (-np.inf, True), (1.0, False)])
def test_a_run_passes_unless_a_verdict_fails(low, expected, tmp_path):
    assert record(tmp_path, lambda: outcome(low)).none_fails == expected
    assert read_record(tmp_path).none_fails == expected


def test_provenance_says_where_a_record_came_from(tmp_path, commit):
    provenance = record(tmp_path).provenance
    assert provenance["commit"] == commit
    assert provenance["config"]["seed"] == 0
    assert provenance["precision"] == "float64"
    assert provenance["duration_seconds"] >= 0
    assert {"jax", "numpy", "python"} <= set(provenance["versions"])
    assert provenance["start"].endswith("+00:00")


def test_json_is_free_of_tokens_that_json_does_not_have(tmp_path):
    record(tmp_path, lambda: outcome(-np.inf))

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    for path in tmp_path.glob("*.json"):
        json.loads(path.read_text(), parse_constant=refuse)


def test_finished_run_is_skipped_and_the_line_names_its_commit(tmp_path, capsys, commit):
    record(tmp_path)
    before = contents(tmp_path)
    capsys.readouterr()
    skipped = record(tmp_path, never)
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("skipped: ")
    assert commit in line
    assert str(tmp_path) in line
    assert skipped.verdicts == read_record(tmp_path).verdicts
    assert contents(tmp_path) == before


def test_chunks_that_a_finished_run_was_killed_while_removing_are_removed_by_the_next(tmp_path):
    record(tmp_path)
    left = tmp_path / "chunks" / "some.npz"
    left.parent.mkdir()
    left.touch()
    record(tmp_path, never)
    assert not left.parent.exists()


def test_finished_run_is_done_again_when_asked(tmp_path):
    record(tmp_path)
    again = record(tmp_path, lambda: outcome(1.0), fresh=True)
    assert not again.none_fails
    assert not read_record(tmp_path).none_fails


@pytest.mark.parametrize("missing", [name for name in FILES if name not in PAGE])
def test_unfinished_run_is_done_again(missing, tmp_path):
    record(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(AssertionError, match="computed again"):
        record(tmp_path, never)


@pytest.mark.parametrize("fresh", [False, True])
def test_another_configuration_is_refused_and_the_folder_left_alone(fresh, tmp_path):
    record(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(InputError, match="another configuration"):
        record(tmp_path, never, fresh=fresh, seed=1)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/run"])
def test_output_that_is_no_folder_is_refused_before_computing(place, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="choose another --output"):
        record(tmp_path / place, never)
    assert contents(tmp_path) == {"file": b"mine"}


def test_a_computation_that_fails_leaves_nothing_behind(tmp_path):
    with pytest.raises(AssertionError, match="computed again"):
        record(tmp_path / "run", never)
    assert not contents(tmp_path)


def test_a_write_that_fails_leaves_the_old_file_whole_and_no_half_one(tmp_path, monkeypatch):
    def full(path: Path, content: bytes) -> None:
        with path.open("wb") as half:
            half.write(content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    write_whole(tmp_path / "file", b"old")
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="No space left on device"):
        write_whole(tmp_path / "file", b"something new")
    assert contents(tmp_path) == {"file": b"old"}


def test_a_file_under_a_file_is_refused_in_one_line(tmp_path):
    write_whole(tmp_path / "file", b"old")
    with pytest.raises(InputError, match="can't write"):
        write_whole(tmp_path / "file" / "inside", b"new")
    assert contents(tmp_path) == {"file": b"old"}


def test_a_file_is_replaced_not_written_over(tmp_path):
    write_whole(tmp_path / "file", b"old")
    (tmp_path / "opened before").hardlink_to(tmp_path / "file")
    write_whole(tmp_path / "file", b"new")
    assert contents(tmp_path) == {"file": b"new", "opened before": b"old"}


def test_a_run_cut_off_while_writing_does_not_count_as_finished(tmp_path, monkeypatch):
    record(tmp_path)
    write = records.write_whole

    def stop_at_table(path: Path, content: bytes) -> None:
        if path.name == "table.md":
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(records, "write_whole", stop_at_table)
    with pytest.raises(KeyboardInterrupt):
        record(tmp_path, lambda: outcome(1.0), fresh=True)
    assert not (tmp_path / "provenance.json").exists()
    with pytest.raises(AssertionError, match="computed again"):
        record(tmp_path, never)


DAMAGE = {
    "missing": lambda content: None,
    "empty": lambda content: b"",
    "cut off": lambda content: content[: len(content) // 2],
    "overwritten in part": lambda content: content[:50] + bytes(20) + content[70:],
    "something else": lambda content: b"\xff\xfe neither JSON nor npz",
}


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        (name, damage)
        for name in ("results.npz", "config.json", "verdicts.json", "provenance.json")
        for damage in DAMAGE
    ],
)
def test_damaged_record_is_refused_in_a_line_that_says_what_to_do(name, damage, tmp_path):
    record(tmp_path)
    content = DAMAGE[damage]((tmp_path / name).read_bytes())
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="--fresh") as caught:
        read_record(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["config.json", "verdicts.json", "provenance.json"])
@pytest.mark.parametrize("content", ["null", "7", "[{}]", "[null]", '"text"'])
def test_record_that_is_json_but_no_record_is_refused_the_same_way(name, content, tmp_path):
    record(tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match="--fresh"):
        read_record(tmp_path)


def test_folder_that_never_held_a_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a finished run"):
        read_record(tmp_path / "nowhere")


def test_default_folder_depends_on_the_configuration_alone():
    one, two = ({"command": "theory verify", "seed": seed} for seed in (0, 1))
    folder = run_folder(one, RunOptions())
    assert folder == run_folder(one, RunOptions(fresh=True))
    assert folder != run_folder(two, RunOptions())
    assert folder.parent == Path("runs/theory")
    assert folder.name.startswith("verify-")
    assert len(folder.name) == len("verify-") + 8
    assert run_folder(one, RunOptions(output=Path("elsewhere"))) == Path("elsewhere")


def test_what_embeds_fonts_does_not_speak_of_their_age(caplog):
    figure_bytes(Figure(figsize=(1, 1)), "pdf")
    logging.getLogger("fontTools.ttLib.tables._h_e_a_d").warning("timestamp seems very low")
    assert not caplog.records


def test_drawing_leaves_the_global_style_alone(tmp_path):
    before = dict(mpl.rcParams)
    record(tmp_path)
    assert dict(mpl.rcParams) == before
