"""What records say of options, so that options that came later don't make another run of one that is recorded."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

SINCE_STUDIES: dict[str, object] = {"recompute": "nothing"}
"""Options that came after the records of the studies, with the value that everything had before."""

LATER: dict[str, object] = {"optimizer": "adamw", **SINCE_STUDIES}
"""Options that came after the first records."""


def written_down(options: Any, later: Mapping[str, object] = LATER) -> dict[str, Any]:
    """Write options down.

    Args:
        options: A dataclass, which may hold others.
        later: Options that came after a record, with the value that everything had before.

    Returns:
        Values by name, of later options only those that differ from what everything had before.
    """
    return asdict(
        options,
        dict_factory=lambda pairs: {name: value for name, value in pairs if name not in later or later[name] != value},
    )
