"""No hostile option or file makes a command end in a traceback, hang, or write half of something.

`--fuzz-seconds 600 --fuzz-seed 7` looks longer, and elsewhere. What `KNOWN` lists is found and not yet mended.
"""

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue
from typing import Any

PROGRAM = Path(__file__).with_name("fuzzer.py")

PATIENCE = 180.0
"""Seconds without a word after which a case is taken to hang for good; a busy machine starts slowly."""

KNOWN: tuple[str, ...] = ()
"""Faults that are known, as regular expressions."""


def fuzz(seed: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Run cases for some seconds; where one takes the process down, go on behind it."""
    entry: dict[str, Any] = {"case": -1, "command": "before the first case", "damaged": []}
    end = None
    while end is None or time.monotonic() < end:
        command = [sys.executable, "-W", "ignore", str(PROGRAM), str(seed), "--first", str(entry["case"] + 1)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        lines: Queue[str] = Queue()
        assert process.stdout is not None
        reader = threading.Thread(target=lambda out=process.stdout, put=lines.put: [*map(put, out), put("")])
        reader.start()
        try:
            while line := lines.get(timeout=PATIENCE):
                new = json.loads(line)
                yield new
                if "case" in new:
                    entry, end = new, end or time.monotonic() + seconds
                    if time.monotonic() > end and "status" in entry:
                        return
            yield entry | {"fault": f"the process ends with {process.wait()}"}
        except Empty:
            yield entry | {"fault": "hangs and can't be interrupted"}
        finally:
            process.kill()
            process.wait()
            reader.join()
            process.stdout.close()


def test_no_hostile_option_or_file_ends_in_a_traceback_or_a_hang(request):
    seed, seconds = (request.config.getoption(f"--fuzz-{name}") for name in ("seed", "seconds"))
    entries = list(fuzz(seed, seconds))
    planted = [entry for entry in entries if "planted" in entry]
    assert planted
    assert all(entry["planted"] in entry["found"] for entry in planted)
    ended = [entry["status"] for entry in entries if "status" in entry]
    assert {2, None} <= set(ended), f"all of {len(ended)} cases end alike"
    found = {entry["fault"]: entry for entry in reversed(entries) if entry.get("fault")}
    unknown = [
        f"case {entry['case']}: {fault}\n  {entry['command'][:300]}\n  damaged: {', '.join(entry['damaged'])}"
        for fault, entry in found.items()
        if not any(re.search(each, fault) for each in KNOWN)
    ]
    told = f"of {len(ended)} cases; `python {PROGRAM} {seed} --case N` shows one:"
    assert not unknown, "\n".join([told, *unknown])
