"""Files that can be read to their end, and read again: no folders, pipes or devices."""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from theory.runs.command_line import InputError


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Refuse to read what is no plain file, as a pipe would be waited for and a device never ends, or can't be read."""
    try:
        kind = path.stat().st_mode
        if not stat.S_ISREG(kind):
            raise OSError(0, "Is a directory" if stat.S_ISDIR(kind) else "is a pipe or a device")
        yield
    except OSError as error:
        said = f"can't read {path} ({error.strerror}): name another file or run the stage that writes it"
        raise InputError(said) from error


def require_file(path: Path) -> None:
    """Refuse what is no plain file before it is read."""
    with reading(path):
        pass
