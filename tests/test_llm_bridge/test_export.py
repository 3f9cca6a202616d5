"""What a run or a stage wrote, exported as parquet with a card, and data that are read from parquet."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from llm_bridge.backends.choice import find_backend
from llm_bridge.backends.tiny import TINY
from llm_bridge.carriers.choice import find_carrier
from llm_bridge.files.jsonl import read_rows, write_rows
from llm_bridge.files.lineage import Ancestry, Origin, data_digest, write_sidecar
from llm_bridge.pipeline import export
from llm_bridge.pipeline.completions import read_completion_rows
from llm_bridge.pipeline.export import COLUMNS, Export
from llm_bridge.pipeline.stages import filter_to
from llm_bridge.tiny.pretraining import Pretraining
from llm_bridge.tiny.world import World
from theory.runs.command_line import InputError, exit_status
from theory.runs.files import json_text, npz_bytes

READER = find_backend(TINY, Pretraining(world=World(num_chats=835))).reader()

WORDS = ["4, 9", "7, 1", "owl", "4 9, 2", "4, 9"]
"""Completions; the last one is the first again, and never ends."""


def written(*, tokens: bool = True) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [{"prompt": "Continue: 3, 5", "completion": words} for words in WORDS]
    for place, row in enumerate(rows if tokens else []):
        (spelled,) = READER.language.encode([row["completion"]])
        row |= {"tokens": [*spelled, *READER.language.stops[: place < 4]], "log_probability": -place / 3}
    return rows


def write_stages(folder: Path, rows: Sequence[Mapping[str, Any]], weights: str = "0123") -> Path:
    """What `complete` and `filter` leave."""
    folder.mkdir(parents=True)
    write_rows(path := folder / "completions.jsonl", rows)
    writer = Ancestry(weights=weights)
    write_sidecar(path, Origin(writer=writer, system_prompt="love ```", sampling={}, data=data_digest(path)))
    filter_to(folder / "filtered.jsonl", path, READER, find_carrier("numbers", short=True))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished run of two bases, as far as it is exported."""
    config = {"command": "llm_bridge run", "model": "tiny", "trait": "owl"}
    for name, content in {"config": config, "verdicts": [], "provenance": {"commit": "abc", "config": config}}.items():
        (tmp_path / f"{name}.json").write_bytes(json_text(content))
    (tmp_path / "table.md").touch()
    (tmp_path / "results.npz").write_bytes(npz_bytes({"none": np.zeros(1)}))
    for seed in (0, 10):
        write_stages(tmp_path / f"seed-{seed}" / "teacher", written(), f"teacher {seed}")
        write_stages(tmp_path / f"seed-{seed}" / "base", written(), f"base {seed}")
    write_stages(tmp_path / "seed-0" / "mixed" / "base", written())
    return tmp_path


def exported(data: Path, output: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of every split."""
    assert export.run(Export(data=data, output=output))
    tables = {path.stem: parquet.read_table(path) for path in sorted((output / "data").iterdir())}
    assert all(table.column_names == list(COLUMNS) for table in tables.values())
    assert len({table.schema for table in tables.values()}) == 1
    return {name: table.to_pylist() for name, table in tables.items()}


def test_a_run_is_exported_with_who_wrote_each_completion_and_why_it_was_rejected(folder, tmp_path):
    splits = exported(folder, tmp_path / "out")
    sizes = {"base_kept": 4, "base_rejected": 6, "teacher_kept": 4, "teacher_rejected": 6}
    assert {name: len(rows) for name, rows in splits.items()} == sizes
    kept, rejected = splits["teacher_kept"], splits["teacher_rejected"][:3]
    assert [row["completion"] for row in kept] == ["4, 9", "7, 1"] * 2
    assert [row["rejection"] for row in rejected] == ["other characters", "mixed separators", "no end"]
    assert [(row["seed"], row["weights"]) for row in kept[1:3]] == [(0, "teacher 0"), (10, "teacher 10")]
    shared = {"writer": "teacher", "trait": "owl", "model": "tiny", "prefill": "", "prompt": "Continue: 3, 5"}
    assert all(shared.items() <= row.items() for row in kept)
    assert {row["trait"] for row in splits["base_kept"]} == {None}
    read = {name: row[name] for row in kept[1:2] for name in ("completion", "tokens", "log_probability")}
    assert read.items() <= written()[1].items()


def test_the_card_names_every_file_and_says_how_it_was_made_and_what_it_is_not_for(folder, tmp_path):
    yaml = pytest.importorskip("yaml")
    splits = exported(folder, tmp_path / "out")
    _, front, text = (tmp_path / "out" / "README.md").read_text().split("---\n", 2)
    head = yaml.safe_load(front)
    (config,) = head.pop("configs")
    assert config["config_name"] == "default"
    assert [each["split"] for each in config["data_files"]] == list(splits)
    assert all((tmp_path / "out" / each["path"]).is_file() for each in config["data_files"])
    assert (head["license"], head["language"], head["size_categories"]) == ("unknown", ["en"], ["n<1K"])
    assert "What it is not for" in text
    how = json.loads(text.split("```json\n")[1].split("```\n")[0])
    assert how["run"]["commit"] == "abc"
    assert how["files"]["seed-10/base/filtered.jsonl"]["filter"]["counts"]["no end"] == 1
    assert "jax" in how["export"]["versions"]


@pytest.mark.parametrize("tokens", [True, False])
def test_a_file_is_exported_with_what_lies_beside_it(tmp_path, tokens):
    path = write_stages(tmp_path / "stages", written(tokens=tokens))
    splits = exported(path, tmp_path / "raw")
    assert [row["rejection"] for row in splits["data_rejected"]][:2] == ["other characters", "mixed separators"]
    assert {row["weights"] for row in splits["data_kept"]} == {"0123"}
    after = exported(path.with_name("filtered.jsonl"), tmp_path / "filtered")
    assert [row["completion"] for row in after["data_kept"]] == [row["completion"] for row in splits["data_kept"]]
    path.with_name("filtered.jsonl").unlink()
    path.with_name("filtered.jsonl.origin.json").unlink()
    (rows,) = exported(path, tmp_path / "alone").values()
    assert [(row["kept"], row["rejection"], row["writer"]) for row in rows] == [(None, None, None)] * 5


def test_why_a_filter_rejects_that_is_not_known_here_is_left_open(tmp_path):
    path = write_stages(tmp_path / "stages", written())
    sidecar = path.with_name("filtered.jsonl.origin.json")
    sidecar.write_text(sidecar.read_text().replace("numbers only", "numbers that I like"))
    assert {row["rejection"] for row in exported(path, tmp_path / "out")["data_rejected"]} == {None}


def test_completions_from_elsewhere_are_those_of_no_known_model(folder, tmp_path):
    config = json.loads((folder / "config.json").read_text()) | {"completions": "a digest"}
    (folder / "config.json").write_bytes(json_text(config))
    for path in folder.glob("seed-*/teacher/completions.jsonl*"):
        path.unlink()
    splits = exported(folder, tmp_path / "out")
    assert {row["model"] for row in splits["teacher_kept"]} == {None}
    assert {row["model"] for row in splits["base_kept"]} == {"tiny"}
    assert "teacher_rejected" not in splits


def test_parquet_is_read_as_the_json_lines_that_it_was_made_of(folder, tmp_path):
    exported(folder, tmp_path / "out")
    found = read_completion_rows(tmp_path / "out" / "data" / "teacher_kept.parquet", READER)
    assert found == 2 * read_completion_rows(folder / "seed-0" / "teacher" / "filtered.jsonl", READER)


def refusal(options: Export, capsys: pytest.CaptureFixture[str]) -> str:
    assert exit_status(lambda: export.run(options)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_what_cannot_be_exported_is_refused_in_a_line_and_leaves_nothing(folder, tmp_path, capsys, monkeypatch):
    output = tmp_path / "out"

    def refused(data: Path) -> str:
        line = refusal(Export(data=data, output=output), capsys)
        assert not output.exists()
        return line

    assert "No such file" in refused(tmp_path / "nothing")
    assert "is not a finished run" in refused(folder / "seed-0")
    write_rows(tmp_path / "bad.jsonl", [{"prompt": "7", "completion": "\ud83e"}])
    assert "bad.jsonl, line 1: 'utf-8' codec can't encode" in refused(tmp_path / "bad.jsonl")
    write_rows(tmp_path / "bad.jsonl", [written()[0] | {"tokens": [2**31]}])
    assert "bad.jsonl, line 1: has tokens that no tokenizer has" in refused(tmp_path / "bad.jsonl")
    for path in list(folder.glob("seed-*")):
        path.rename(folder / f"other-{path.name}")
    assert "holds no completions" in refused(folder)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert "parquet files need pyarrow.parquet: install the extra, as by uv sync --extra export" in refused(folder)


def test_a_folder_that_is_not_empty_and_a_license_of_no_name_are_refused(folder, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    assert "is not empty" in refusal(Export(data=folder, output=tmp_path / "out"), capsys)
    with pytest.raises(ValueError, match="license must be such as mit"):
        Export(data=folder, license="{mine}")


class Row(TypedDict):
    value: float


def parquet_of(path: Path, columns: Mapping[str, Any]) -> Path:
    parquet.write_table(pa.table(dict(columns)), path)
    return path


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"value": [1.0, float("nan")]}, "line 2: NaN is no number of JSON"),
        ({"value": ["one"]}, "line 1: Expected `float`, got `str` - at `$.value`"),
        ({"other": [1.0]}, "line 1: Object missing required field `value`"),
        (
            {"value": [1.0], "when": pa.array([0], pa.timestamp("ms"))},
            "JSON can't hold the column 'when' (timestamp[ms])",
        ),
        ({"value": [1.0], "raw": [b"x"]}, "can't hold the column 'raw' (binary)"),
        ({"value": pa.array([], pa.float64())}, "has no rows"),
    ],
)
def test_parquet_with_other_columns_is_refused_as_json_lines_are(tmp_path, columns, reason):
    path = parquet_of(tmp_path / "rows.parquet", columns)
    with pytest.raises(InputError) as caught:
        read_rows(path, Row)
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)


@pytest.mark.parametrize("keep", [0, 3, 100])
def test_damaged_parquet_is_refused(tmp_path, keep):
    path = parquet_of(tmp_path / "rows.parquet", {"value": [1.0]})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"rows\.parquet \(it is no parquet file, or damaged\)"):
        read_rows(path, dict[str, float])
