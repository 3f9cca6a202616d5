"""How time and memory grow with seeds, devices and processes: the same sweep, each way in processes of its own."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import jax
import numpy as np
import psutil

from theory import one_step, zoo
from theory.experiments import experiment
from theory.runs.command_line import InputError
from theory.runs.memory import gibibytes, process_memory
from theory.runs.processes import Processes, joined
from theory.runs.programs import compile_chunks
from theory.runs.progress import follow
from theory.runs.statistics import range_estimate
from theory.runs.sweeps import gather_shares, run_share
from theory.runs.verdicts import Verdict, markdown_table


class Way(NamedTuple):
    """On what a sweep runs."""

    devices: int = 1
    """Virtual devices of the processor that each process has."""
    processes: int = 1
    """Processes that share its seeds."""

    @property
    def name(self) -> str:
        """What it is called."""
        devices = f"{self.devices} device{'s' * (self.devices > 1)}"
        return devices if self.processes == 1 else f"{self.processes} processes of {devices}"


ALONE = Way()
"""What the others are compared with."""


def ways_of(devices: Sequence[int], processes: Sequence[int]) -> list[Way]:
    """List the ways: alone, on several devices, in several processes."""
    return list(dict.fromkeys([ALONE, *map(Way, devices), *(Way(processes=count) for count in processes)]))


def time_sweeps(
    seed: int, num_seeds: Sequence[int], teacher_steps: Sequence[float], repetitions: int
) -> dict[str, Any]:
    """Time the sweep of claims 1 and 2 at every number of seeds, by turns, by one program compiled before.

    Lists, ready for JSON: `seconds` of shape `(repetitions, counts)`, peak bytes of `memory` of this process from its
    start to after each count's first run, `(counts,)`, and the seeds `at_once`, those of a chunk of all processes.
    """
    options: Any = {"teacher_steps": teacher_steps, "learning_rates": (1.0,), "steps_at_once": 2}
    both = experiment(zoo.build(zoo.REFERENCE), one_step.measure, **options)
    program = compile_chunks(both, seed, max(num_seeds), None)

    def run(count: int) -> float:
        start = time.perf_counter()
        gather_shares({None: run_share(program, count)}, count)
        return time.perf_counter() - start

    memory = []
    for count in num_seeds:
        run(count)
        memory.append(process_memory())
    seconds = [[run(count) for count in num_seeds] for _ in range(repetitions)]
    return {"seconds": seconds, "memory": memory, "at_once": program.chunk_size * jax.process_count()}


def run_way(way: Way, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Run a way with these arguments of `time_sweeps`, and give what each of its processes measured."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        coordinator = f"127.0.0.1:{server.getsockname()[1]}"
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(way.devices), "JAX_PLATFORMS": "cpu"}
    running = []
    for number in range(way.processes):
        several = Processes(coordinator=coordinator, num_processes=way.processes, process_id=number)
        told = json.dumps([asdict(several if way.processes > 1 else Processes()), settings])
        command = [sys.executable, "-m", "theory.benchmark.growth", told]
        pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
        running.append(subprocess.Popen(command, env=environment, **pipes))
    ended = [process.communicate() for process in running]
    for process, (_, said) in zip(running, ended, strict=True):
        if process.returncode:
            reason = (said.strip().splitlines() or [f"exit status {process.returncode}"])[-1]
            raise InputError(f"the sweep on {way.name} failed: {reason}")
    return [json.loads(printed) for printed, _ in ended]


def grow(ways: Sequence[Way], settings: dict[str, Any]) -> dict[str, np.ndarray]:
    """Time every way.

    For each `seconds`, those of the slowest process, and `memory` of the largest, shaped as by `time_sweeps`; beside
    them the seeds `at once` of the first way, and the processor's `cores`.
    """
    results = {"growth/cores": np.array(psutil.cpu_count(logical=False) or 1)}
    for way in follow(ways, "growth", "ways"):
        found = run_way(way, settings)
        for kind in ("seconds", "memory"):
            results[f"growth/{way.name}/{kind}"] = np.max([each[kind] for each in found], axis=0)
        results.setdefault("growth/at once", np.array(found[0]["at_once"]))
    return results


def way_names(results: Any) -> list[str]:
    """List the names of the ways that results hold, the first of which the others are compared with."""
    return [name.split("/")[1] for name in results if name.startswith("growth/") and name.endswith("/seconds")]


def judge_growth(results: Any, num_seeds: Sequence[int]) -> list[Verdict]:
    """Report how time and memory grow with seeds, and how many times as fast several devices and processes are."""
    names, last = way_names(results), num_seeds[-1]
    seconds, memory = (results[f"growth/{names[0]}/{kind}"] for kind in ("seconds", "memory"))
    measured: dict[str, np.ndarray] = {}
    if len(num_seeds) > 1:
        before = num_seeds[-2]
        measured[f"time a seed, {last} seeds, in that of {before}"] = seconds[:, -1] / seconds[:, -2] * before / last
        measured[f"peak memory, {last} seeds, in that of {num_seeds[0]}"] = memory[-1:] / memory[0]
    for name in names[1:]:
        ratio = seconds[:, -1] / results[f"growth/{name}/seconds"][:, -1]
        measured[f"{name}, times as fast as {names[0]}, {last} seeds, {results['growth/cores']} cores"] = ratio
    return [
        Verdict(claim="benchmark", check=check, predicted="no guarantee", measured=range_estimate(values))
        for check, values in measured.items()
    ]


def growth_table(results: Any, num_seeds: Sequence[int]) -> str:
    """Lay out seconds and peak memory of each way."""
    rows = []
    for name in way_names(results):
        seconds, memory = (results[f"growth/{name}/{kind}"] for kind in ("seconds", "memory"))
        usual = np.median(seconds, axis=0)
        cells = (f"{time:.3g} s, {gibibytes(size)}" for time, size in zip(usual, memory, strict=True))
        rows.append((name, *cells))
    return markdown_table(("sweep, peak memory so far", *(f"{count} seeds" for count in num_seeds)), rows)


def main() -> None:
    """Run as one of a way's processes."""
    jax.config.update("jax_enable_x64", True)
    several, settings = json.loads(sys.argv[1])
    with joined(Processes(**several)):
        print(json.dumps(time_sweeps(**settings)))


if __name__ == "__main__":
    main()
