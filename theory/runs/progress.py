"""How far a stage is: a bar on a terminal, elsewhere a line when it starts and one every half minute."""

import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Self, TextIO, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
"""What a stage does one after the other."""

EVERY = 30.0
"""Seconds between two lines."""

QUIET = "TQDM_DISABLE"
"""Environment variable that switches progress off, in the processes that a command starts, too."""


def say(line: str) -> None:
    """Write a line to stderr in one piece, what isn't printable escaped, and whether or not anyone can read it."""
    clean = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in line)
    if sys.stderr is not None:
        try:
            sys.stderr.write(f"{clean}\n")
        except OSError:
            drop(sys.stderr)


def drop(stream: TextIO) -> None:
    """Let a stream that can't be written lead nowhere, so that nothing more is said of it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


class Progress:
    """How far one stage is."""

    def __init__(self, title: str, total: int, unit: str, *, done: int = 0, shown: bool = True):
        """Say that it starts, `done` of it before; where several processes do the same, one is shown."""
        self.title, self.total, self.unit, self.done = title, total, unit, done
        self.before, self.start, self.ended, self.lock = done, time.monotonic(), threading.Event(), threading.Lock()
        shown = shown and not os.environ.get(QUIET)
        on_terminal = sys.stderr is not None and sys.stderr.isatty()
        self.bar = tqdm(
            desc=title, total=total, initial=done, unit=f" {unit}", leave=False, disable=not (shown and on_terminal)
        )
        if shown and not on_terminal:
            say(f"{title}: {total} {unit}" + (f", {done} of them done" if done else ""))
            threading.Thread(target=_tell, args=(weakref.ref(self), self.ended), daemon=True).start()

    def line(self) -> str:
        """Say how far it is, and the time left, or so far, if nothing is done yet."""
        passed, new = time.monotonic() - self.start, self.done - self.before
        share = f"{self.title}: {self.done} of {self.total} {self.unit} ({100 * self.done / max(self.total, 1):.0f} %)"
        if not new:
            return f"{share}, {duration(passed)} so far"
        return f"{share}, {duration(passed * (self.total - self.done) / new)} left"

    def advance(self, count: int = 1, note: str = "") -> None:
        """Say that more is done; any thread may. A bar says a note beside it."""
        with self.lock:
            self.done += count
            self.bar.update(count)
            if note:
                self.bar.set_postfix_str(note)

    def close(self) -> None:
        """Say nothing more."""
        self.ended.set()
        self.bar.close()

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *error: Any) -> None:
        """End."""
        self.close()


def _tell(progress: Callable[[], Progress | None], ended: threading.Event) -> None:
    """Say a line every half minute, until the stage has ended or an error left it."""
    while not ended.wait(EVERY) and (stage := progress()) is not None:
        say(stage.line())
        del stage


def follow(items: Iterable[Item], title: str, unit: str, total: int | None = None) -> Iterator[Item]:
    """Show how far one is in doing one thing after the other; a collection knows its total."""
    count = len(items) if isinstance(items, Collection) else 0
    with Progress(title, count if total is None else total, unit) as progress:
        for item in items:
            yield item
            progress.advance()


def duration(seconds: float) -> str:
    """Write down how long something takes, as exactly as one wants to know."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
