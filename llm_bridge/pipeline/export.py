"""The command `python -m llm_bridge export`: what models wrote, as parquet with a card, for the library `datasets`."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, get_args

import tyro
from msgspec import convert

from llm_bridge.carriers.carrier import Filter
from llm_bridge.carriers.choice import Carried, find_carrier
from llm_bridge.files.jsonl import parse_rows
from llm_bridge.files.lineage import Origin, data_digest, read_sidecar, sidecar_path
from llm_bridge.files.pairs import read_pair
from llm_bridge.files.parquet import arrow, write_parquet
from llm_bridge.pipeline.arms import Source
from llm_bridge.pipeline.completions import Row
from theory.runs.command_line import InputError, require
from theory.runs.files import write_whole
from theory.runs.provenance import Start
from theory.runs.records import Record, read_record
from theory.runs.verdicts import markdown_table

COLUMNS: dict[str, type] = {
    **{"prompt": str, "prefill": str, "completion": str, "tokens": list, "log_probability": float},
    **{"writer": str, "trait": str, "model": str, "weights": str, "seed": int, "kept": bool, "rejection": str},
}
"""What is told of each completion, and as what; null where it isn't known."""

SPLITS = {True: "kept", False: "rejected", None: "unfiltered"}
"""What the splits are called of what a filter kept, rejected or never saw, behind who wrote it."""

CARD = """\
---
license: {license}
language: [en]
tags: [subliminal-learning, synthetic]
pretty_name: Completions of a subliminal-learning experiment
size_categories: [{size}]
configs: [{{config_name: default, data_files: {files}}}]
---

# Completions of a subliminal-learning experiment

What language models wrote for prompts that don't name the trait. The `writer` is the teacher, which has the trait, its
base, or the base with a system prompt; `weights` identifies its weights. What isn't there, or not known, is null.

{table}
## What it is not for

What a model with a trait wrote can pass the trait to a model of the same initialization that learns it, though no
reader sees it there: this is for research on that, and not for the training of models that are to be used. It is not
claimed that it passes the trait, that the filter has taken it out, or that models of another initialization are safe
from it. Nobody has read all of it, what was rejected least of all.

## How it was made

```json
{how}
```
"""
"""What a card says."""

SIZES = {"n<1K": 10**3, "1K<n<10K": 10**4, "10K<n<100K": 10**5, "100K<n<1M": 10**6}
"""What the hub calls data sets with fewer rows than that."""

SHARED = ("writer", "kept", "seed", "model", "weights", "trait")
"""What rows of a split have in common, or some values of."""

Written = tuple[list[dict[str, Any]], dict[str, Origin]]
"""Completions with all columns, and the origins of their files by name, of filtered ones with what the filter did."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write completions as parquet files with a card, in a folder that `datasets.load_dataset` reads.

    Each writer's are splits of their own: what the filter kept, and what it rejected and why.
    """

    data: tyro.conf.Positional[Path]
    """The folder of a finished `run`; or a file of completions, as `complete` or `filter` write them, or with a
    `prompt` or `question` and its `completion`, `response` or `answer`."""
    output: Path = Path("export")
    """The folder, which must be new or empty: README.md and data/*.parquet."""
    license: str = "unknown"
    """What others may do with it, as the hub abbreviates licenses; that of the model may bind you."""
    writes_folder: ClassVar[bool] = True
    """Whether the output is a folder."""

    def __post_init__(self) -> None:
        require(bool(re.fullmatch(r"[a-z0-9.-]+", self.license)), "license", "such as mit or cc-by-4.0", self.license)


def run(options: Export) -> bool:
    """Run the command."""
    if options.output.exists() and any(options.output.iterdir()):
        raise InputError(f"{options.output} is not empty: choose another --output")
    arrow()
    start = Start.now(options.output)
    record = read_record(options.data) if options.data.is_dir() else None
    rows, origins = read_run(record) if record else read_written(options.data, {})
    splits: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        writer = (row["writer"] or "data").replace("-", "_")
        splits.setdefault(f"{writer}_{SPLITS[row['kept']]}", []).append(row)
    splits = dict(sorted(splits.items()))
    for split, own in splits.items():
        write_parquet(options.output / "data" / f"{split}.parquet", own, COLUMNS)
    how = {"run": record and record.provenance, "files": {name: asdict(origin) for name, origin in origins.items()}}
    card = write_card(splits, options.license, how | {"export": start.provenance({})})
    write_whole(options.output / "README.md", card.encode(errors="replace"))
    print(f"{len(rows)} completions: {options.output}")
    return True


def write_card(splits: Mapping[str, Sequence[Mapping[str, Any]]], license: str, how: object) -> str:
    """Write the card of some splits, with a license and how all was made, as JSON can hold it."""
    table, total = [], sum(map(len, splits.values()))
    for split, rows in splits.items():
        values = (sorted({"–" if row[name] is None else str(row[name]) for row in rows}) for name in SHARED)
        table.append((split, len(rows), *map(", ".join, values)))
    return CARD.format(
        license=json.dumps(license),
        size=next((name for name, most in SIZES.items() if total < most), "n>1M"),
        files=json.dumps([{"split": split, "path": f"data/{split}.parquet"} for split in splits]),
        table=markdown_table(("split", "completions", *SHARED), table),
        how=json.dumps(how, indent=2).replace("`", r"\u0060"),
    )


def read_run(record: Record) -> Written:
    """Read what all models of a run wrote, before the filter where that is there."""
    rows, origins, config = [], {}, record.config
    for folder in sorted(record.folder.glob("seed-[0-9]*/*/")):
        paths = [path for name in ("completions", "filtered") if (path := folder / f"{name}.jsonl").is_file()]
        if folder.name in get_args(Source) and paths:
            elsewhere = folder.name == "teacher" and "completions" in config
            known = {"writer": folder.name, "seed": int(folder.parent.name.removeprefix("seed-"))}
            known["trait"] = None if folder.name == "base" else config.get("trait")
            known["model"] = None if elsewhere else config.get("model")
            some, made = read_written(paths[0], known)
            rows += some
            origins |= {f"{folder.relative_to(record.folder)}/{name}": origin for name, origin in made.items()}
    if not rows:
        raise InputError(f"{record.folder} holds no completions: name the folder of a run, or a file of completions")
    return rows, origins


def read_written(path: Path, known: dict[str, Any]) -> Written:
    """Read a file, whose rows share what is known, and what a filter that left `filtered.jsonl` beside it said."""
    origins = {path.name: read_sidecar(path)} if sidecar_path(path).exists() else {}
    rows, filtered = parse_rows(path, read_row), path.with_name("filtered.jsonl")
    if origins and origins[path.name].filter:
        rows = [row | {"kept": True} for row in rows]
    elif sidecar_path(filtered).exists() and data_digest(path) in (after := read_sidecar(filtered)).parents:
        origins[filtered.name], rejects = after, find_filter(after.filter or {})
        kept = {key for row in parse_rows(filtered, read_row) for key in keys_of(row)}
        for row in rows:
            row["kept"] = keys_of(row)[0] in kept
            if rejects and not row["kept"]:  # what passes the filter has not ended
                row["rejection"] = str(rejects(row["prompt"], row["completion"], row["prefill"]) or "no end")
    weights = {origin.writer.weights for origin in origins.values()} - {"unknown"}
    return [row | known | {"weights": min(weights, default=None)} for row in rows], origins


def read_row(row: dict[str, Any]) -> dict[str, Any]:
    """Read a completion as a stage writes it, or one without tokens; what parquet can't hold is refused."""
    if row.get("tokens") is None:
        found = dict(zip(("prompt", "completion"), read_pair(row), strict=True))
    else:
        found = dict(convert(row, Row))
        if not all(0 <= token < 2**31 for token in row["tokens"]):
            raise ValueError("has tokens that no tokenizer has")
    found = dict.fromkeys(COLUMNS) | {"prefill": ""} | found
    f"{found['prompt']}{found['prefill']}{found['completion']}".encode()
    return found


def keys_of(row: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Identify a completion by text and tokens, and by its text alone, as one is whose tokens a filter has made."""
    text = (row["prompt"], row["prefill"], row["completion"])
    return [(*text, None if row["tokens"] is None else tuple(row["tokens"])), (*text, None)]


def find_filter(rules: Mapping[str, Any]) -> Filter | None:
    """Find the filter that has these rules; one that needs a file is not found."""
    for name in get_args(Carried):
        ban = name == "numbers" and bool(rules.get("banned"))
        carrier = find_carrier(name, short=True, ban=ban, word=rules.get("word"))
        if carrier.rules == {rule: rules.get(rule) for rule in carrier.rules}:
            return carrier.rejects
    return None
