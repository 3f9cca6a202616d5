"""Running a sweep: points of the protocol by seeds, judged and recorded; studies and sweeps alike."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mlp_mnist.arms import Arm
from mlp_mnist.data import Source, load, other_images
from mlp_mnist.experiment import run_seeds
from mlp_mnist.options import ImageOptions
from mlp_mnist.protocol import Protocol
from mlp_mnist.studies.plots import draw_sweep
from mlp_mnist.studies.study import Finding
from mlp_mnist.studies.verdicts import judge_sweep
from theory.runs.provenance import Start
from theory.runs.records import FILES, Outcome, Record, json_text, read_record, record_run, run_folder, save

STUDENT = Arm("shared", "aux")
"""The student of every sweep: its init as the protocol says, imitating the auxiliary logits."""


def run_sweep(
    command: str,
    options: ImageOptions,
    source: Source,
    points: Mapping[str, Protocol],
    num_seeds: int,
    about: Mapping[str, Any],
    findings: Sequence[Finding] = (),
    equal: tuple[str, str] | None = None,
) -> bool:
    """Run all points, judge and record them.

    Args:
        command: Package and command.
        options: The command's options.
        source: The images.
        points: Protocols by label.
        num_seeds: How many seeds.
        about: What the figure says beside the numbers: question, axis, places.
        findings: What others found.
        equal: Labels of two points that must agree.

    Returns:
        Whether no verdict fails.
    """
    config = {
        "command": command,
        "data": source.name,
        "seed": options.seed,
        "num_seeds": num_seeds,
        **about,
        "points": {label: asdict(protocol) for label, protocol in points.items()},
    }

    def compute() -> Outcome:
        others = other_images(source) if any(point.images == "other" for point in points.values()) else None
        measured = run_seeds(list(points.values()), [STUDENT], load(source), options.seed, num_seeds, others)
        results = {}
        for place, label in enumerate(points):
            results |= {
                f"accuracy/{label}": measured.students[place, :, 0],
                f"cosine/{label}": measured.cosines[place, :, 0],
                f"teacher/{label}": measured.teacher[place],
                f"reference/{label}": measured.reference[place],
            }
        return judge_sweep(results, points, findings, equal)

    folder = run_folder(config, options)
    if not options.fresh and (record := find_numbers(folder, config, about)):
        made = record.provenance
        origin = made.get("numbers_from", f"{made['command']} at commit {made['commit']}, {made['start']}")
        outcome = judge_sweep(record.results, points, findings, equal)
        save(outcome, folder, config, draw_sweep, Start.now(folder), data=source.reason, numbers_from=origin)
    return record_run(command, options, config, compute, draw_sweep, data=source.reason).none_fails


def find_numbers(folder: Path, config: Mapping[str, Any], about: Mapping[str, Any]) -> Record | None:
    """Find a finished run of the same points about which something else was said: it need only be judged again.

    Args:
        folder: Where to look.
        config: What is to be computed.
        about: The part of it on which no number depends.

    Returns:
        The record, if there is one.
    """
    if not all((folder / name).exists() for name in FILES):
        return None
    record, asked = read_record(folder), json.loads(json_text(config))
    same = {name for name in asked if record.config.get(name) == asked[name]}
    return record if same != set(asked) and same >= set(asked) - set(about) else None
