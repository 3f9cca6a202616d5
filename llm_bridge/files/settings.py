"""What records say of options, so that options that came later don't make another run of one that is recorded."""

from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

SINCE_PUBLISHED: dict[str, object] = {"num_questions": 50, "whole": True}
"""Options that came after the first record of a published model, with the value that everything had before."""

SINCE_STUDIES: dict[str, object] = {
    "recompute": "nothing",
    "num_samples": 1,
    "num_steps": 0,
    "until": 0.0,
    "least": 0.5,
    "mixed": 0,
    "prefill": False,
    **SINCE_PUBLISHED,
}
"""Options that came after the records of the studies, with the value that everything had before."""

SINCE_ARMS: dict[str, object] = {"targets": None, "own": False, "writer": "", "num_teachers": 1, "defence": ""}
"""What arms of studies can be told since the first studies were recorded, with the value that all had before."""

LATER: dict[str, object] = {"optimizer": "adamw", **SINCE_STUDIES}
"""Options that came after the first records."""


def written_down(options: Any, later: Mapping[str, object] = LATER, unsaid: Collection[str] = ()) -> dict[str, Any]:
    """Write options down, of later ones only those that differ from what everything had before, and some not at all."""

    def choose(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {name: value for name, value in pairs if name not in unsaid and later.get(name, ...) != value}

    return asdict(options, dict_factory=choose)


SIZES = {"at_once", "rows_at_once", "recompute", "least"}
"""Options that results depend on by rounding alone, or not at all; they may be turned, as when memory is short, and the
run goes on."""


def without_sizes(options: Any) -> dict[str, Any]:
    """Write down the options of a published model, which may run short of memory, but for `SIZES`."""
    return written_down(options, SINCE_PUBLISHED, SIZES)
