"""Provenance: which code, versions and machine a record came from, and how long it took."""

import datetime
import importlib.metadata
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

SOURCE = Path(__file__).parents[2]
"""Root of the source tree."""

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy", "matplotlib", "scikit-learn", "tokenizers")
"""Packages whose versions are noted."""

RECORDS = ("runs", "figures/README.md", "figures/*/*")
"""Where records are written: changes there don't make the code another."""


class Start(NamedTuple):
    """The moment a run started."""

    commit: str
    """The commit it runs from, with `+` if the tree was changed since."""
    date: str
    """Date and time, UTC."""
    clock: float
    """Seconds on a clock that only moves forward."""

    @classmethod
    def now(cls, output: Path) -> "Start":
        """Read commit, date and clock; changes in the run's own folder don't count."""
        date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        return cls(current_commit(output), date, time.monotonic())

    def provenance(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Describe the run that ends now, in plain values for `provenance.json`."""
        script = Path(sys.argv[0])
        program = ["-m", script.parent.name] if script.name == "__main__.py" else [script.name]
        device = jax.devices()[0]
        return {
            "command": shlex.join(["python", *program, *map(without_place, sys.argv[1:])]),
            "config": dict(config),
            "commit": self.commit,
            "versions": {"python": platform.python_version()}
            | {package: importlib.metadata.version(package) for package in PACKAGES},
            "device": f"{jax.device_count()} × {device.platform} ({device.device_kind})",
            "machine": f"{platform.system()} {platform.machine()}",
            "precision": "float64" if jax.config.read("jax_enable_x64") else "float32",
            "start": self.date,
            "duration_seconds": round(time.monotonic() - self.clock, 1),
        }


def without_place(argument: str) -> str:
    """Leave out where on a machine something lies: of an absolute path only its last part stays."""
    return f"…/{Path(argument).name}" if Path(argument).is_absolute() else argument


def current_commit(output: Path) -> str:
    """Ask git for the source tree's commit, with `+` if anything but `output` was changed since.

    It is `unknown` unless git tracks this very file: a virtual environment may lie in another project's repository.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(SOURCE), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    ignored = [*RECORDS]
    if output.absolute().is_relative_to(SOURCE):
        ignored.append(str(output.absolute().relative_to(SOURCE)))
    try:
        git("ls-files", "--error-unmatch", "theory/runs/provenance.py")
        commit = git("rev-parse", "--short=12", "HEAD")
        changed = git("status", "--porcelain", "--", ".", *[f":(exclude,glob){pattern}" for pattern in ignored])
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("+" if changed else "")
