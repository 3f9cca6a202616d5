"""What records say of options, so that options that came later don't make another run of one that is recorded."""

from dataclasses import asdict
from typing import Any

LATER: dict[str, object] = {"recompute": "nothing", "optimizer": "adamw"}
"""Options that came after the first records, with the value that everything had before."""


def written_down(options: Any) -> dict[str, Any]:
    """Write options down.

    Args:
        options: A dataclass, which may hold others.

    Returns:
        Values by name, of `LATER` only those that differ from what everything had before.
    """
    return asdict(
        options,
        dict_factory=lambda pairs: {name: value for name, value in pairs if name not in LATER or LATER[name] != value},
    )
