"""The commands `study` and `sweep`: points of the protocol by seeds, judged and recorded."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from mlp_mnist.arms import SWEPT_ARM
from mlp_mnist.data import Source, load, load_others
from mlp_mnist.experiment import run_seeds
from mlp_mnist.knobs import FLAGS, changed, find_field, nearest, parse, refuse, turned
from mlp_mnist.options import ImageOptions, StudyOptions, SweepOptions
from mlp_mnist.protocol import Protocol, is_published
from mlp_mnist.studies import STUDIES, Finding, Study
from mlp_mnist.study_pictures import draw_sweep
from mlp_mnist.study_verdicts import judge_sweep
from theory.runs.command_line import InputError
from theory.runs.provenance import Start
from theory.runs.records import FILES, PAGE, Outcome, Record, json_text, read_record, record_run, run_folder, save

MOST_POINTS = 100
"""Each is a training of its own for every seed."""


def run_studies(options: StudyOptions) -> bool:
    """Run the studies that were named; say whether no verdict fails."""
    names = list(STUDIES) if "all" in options.names else list(options.names)
    for name in names:
        study = STUDIES[nearest(name, list(STUDIES), "study")]
        refuse(options.knobs, _varied_by(study), f"the study {name} varies it")
    if not names:
        raise InputError(f"name a study, or all: there are {', '.join(STUDIES)}")
    source, good = options.source(), True
    base = options.protocol(source.name)
    for name in names:
        study = STUDIES[name]
        points = {label: changed(base, changes) for label, changes in study.points.items()}
        if source.name == "digits":
            points = {label: point for label, point in points.items() if point.images != "other"}
        findings = study.findings if is_published(source.name, base) else ()
        about = {
            "study": name,
            "question": study.question,
            "axis": study.axis,
            "places": list(study.places),
            "findings": [finding._asdict() for finding in findings],
        }
        place = options.output / name if options.output and len(names) > 1 else options.output
        own = replace(options, output=place, names=(name,))
        seeds = options.num_seeds or study.num_seeds
        good &= run_sweep("mlp_mnist study", own, source, points, seeds, about, findings, study.equal)
    return good


def _varied_by(study: Study) -> set[str]:
    """List the fields that a study's points change, but for the controls' init."""
    changes = {change for point in study.points.values() for change in point.items()}
    return {name for name, _ in changes - {("shared", "nothing")}}


def run_field_sweep(options: SweepOptions) -> bool:
    """Run every combination of the fields' values, and a stranger; say whether no verdict fails."""
    if not 1 <= len(options.vary) <= 2 or any(len(each) < 2 for each in options.vary):
        raise InputError("give --vary once or twice: a field, then its values")
    axes = {name: [parse(name, text) for text in texts] for name, *texts in options.vary}
    varied = {find_field(name): name for name in axes}
    count = prod(map(len, axes.values()))
    if count > MOST_POINTS or len(varied) != len(options.vary):
        raise InputError(f"{count} points are asked for: vary different fields, over at most {MOST_POINTS} points")
    if twice := [FLAGS[field] for field in turned(options.knobs) if field in varied]:
        raise InputError(f"--{twice[0]} is varied: leave it out")
    source = options.source()
    base = options.protocol(source.name)
    points = {}
    for values in product(*axes.values()):
        label = ", ".join(f"{name} = {value}" for name, value in zip(axes, values, strict=True))
        points[label] = changed(base, dict(zip(varied, values, strict=True)))
    points["stranger"] = changed(base, {"shared": "nothing"})
    (first, *_), names, texts = axes.values(), list(axes), [list(map(str, values)) for values in axes.values()]
    alone = len(axes) == 1 and all(isinstance(value, int | float) and value > 0 for value in first)
    about: dict[str, Any] = {
        "question": f"Accuracy over {' and '.join(names)}",
        "axis": " × ".join(names),
        "places": first if alone else [],
        "findings": [],
    }
    if len(axes) == 2:
        about |= {"rows": texts[0], "columns": texts[1]}
    return run_sweep("mlp_mnist sweep", options, source, points, options.num_seeds, about)


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
    """Run all points, judge and record them; `about` is what the figure says beside the numbers."""
    config = {
        "command": command,
        "data": source.name,
        "seed": options.seed,
        "num_seeds": num_seeds,
        **about,
        "points": {label: asdict(protocol) for label, protocol in points.items()},
    }

    def compute() -> Outcome:
        protocols = list(points.values())
        others = load_others(source, protocols)
        measured = run_seeds(protocols, [SWEPT_ARM], load(source), options.seed, num_seeds, others)
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
    if not options.fresh and (record := _find_numbers(folder, config, about)):
        made = record.provenance
        origin = made.get("numbers_from", f"{made['command']} at commit {made['commit']}, {made['start']}")
        outcome = judge_sweep(record.results, points, findings, equal)
        save(outcome, folder, config, draw_sweep, Start.now(folder), data=source.reason, numbers_from=origin)
    return record_run(command, options, config, compute, draw_sweep, data=source.reason).none_fails


def _find_numbers(folder: Path, config: Mapping[str, Any], about: Mapping[str, Any]) -> Record | None:
    """Find a finished run of the same points about which something else was said: it need only be judged again."""
    if not all((folder / name).exists() for name in FILES if name not in PAGE):
        return None
    record, asked = read_record(folder), json.loads(json_text(config))
    same = {name for name in asked if record.config.get(name) == asked[name]}
    return record if same != set(asked) and same >= set(asked) - set(about) else None
