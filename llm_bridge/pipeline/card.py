"""The card of an exported data set: what the hub reads, what it is, how it was made, and what it is not for."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from theory.runs.verdicts import markdown_table

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

COLUMNS = ("writer", "kept", "seed", "model", "weights", "trait")
"""What rows of a split have in common, or some values of."""


def write_card(splits: Mapping[str, Sequence[Mapping[str, Any]]], license: str, how: object) -> str:
    """Write the card of some splits, with a license and how all was made, as JSON can hold it."""
    total = sum(map(len, splits.values()))
    table = [
        (
            split,
            len(rows),
            *(", ".join(sorted({"–" if row[name] is None else str(row[name]) for row in rows})) for name in COLUMNS),
        )
        for split, rows in splits.items()
    ]
    return CARD.format(
        license=json.dumps(license),
        size=next((name for name, most in SIZES.items() if total < most), "n>1M"),
        files=json.dumps([{"split": split, "path": f"data/{split}.parquet"} for split in splits]),
        table=markdown_table(("split", "completions", *COLUMNS), table),
        how=json.dumps(how, indent=2).replace("`", r"\u0060"),
    )
