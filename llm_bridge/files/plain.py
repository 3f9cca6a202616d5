"""Files that can be read to their end, and read again: no folders, pipes or devices."""

import stat
from pathlib import Path

from theory.runs.command_line import InputError


def require_file(path: Path) -> None:
    """Refuse to read what is no plain file; a pipe would be waited for, and a device never ends."""
    try:
        kind = path.stat().st_mode
        said = None if stat.S_ISREG(kind) else "Is a directory" if stat.S_ISDIR(kind) else "is a pipe or a device"
    except OSError as error:
        said = error.strerror
    if said:
        raise InputError(f"can't read {path} ({said}): name another file or run the stage that writes it")
