"""The commands `study` and `sweep`: what they are told, and which points they run."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from itertools import product
from typing import Any, Literal

import tyro

from mlp_mnist.options import ExperimentOptions, ImageOptions, choose_images
from mlp_mnist.protocol import PROTOCOLS, Protocol
from mlp_mnist.studies.catalog import STUDIES
from mlp_mnist.studies.sweep import run_sweep
from theory.runs.command_line import InputError, require_seeds

MOST_POINTS = 100
"""Each is a training of its own for every seed."""


@dataclass(frozen=True, kw_only=True)
class StudyOptions(ImageOptions):
    """Turn one knob of the protocol, and hold what comes of it against what others found.

    - images: Must the student see noise? Real images, correlated and low-dimensional noise
    - heads: Must the whole init be shared, or only the output heads? Other hidden layers, depths and kinds
    - shared-heads: How many auxiliary logits does a student need that shares only the output heads?
    - loss: Does the imitation loss matter?
    - student-epochs: How many epochs must the student imitate?
    - init-scale: Does the size of the initial weights matter?
    - width: Do wider networks transfer less?
    - auxiliary-logits: How many auxiliary logits carry the trait?
    - teacher-epochs: How many epochs must the teacher have been trained?
    - recipe: What do the tuned choices add up to?
    - matched: Does a stranger that first learned to behave like the teacher's init learn the trait?
    - removal: Does taking the teacher's direction out of every step stop the transfer?
    - correlation: How much of the init must be shared?
    - init-noise: How much noise on the init does the transfer survive?
    - depth: Does depth matter?
    - precision: Do products in bfloat16 change the outcome?
    - optimizer: Must the student use Adam?
    """

    precision: Literal["float32", "bf16"] = "bf16"
    """Matrix products in float32, or in bfloat16 with sums, weights and optimizer in float32: several times as fast
    where the processor has bfloat16 tiles. The study `precision` compares the two."""
    names: tyro.conf.Positional[tuple[str, ...]]
    """Studies to run, one after the other; `all` for all of them."""
    num_seeds: int | None = None
    """Independent seeds. Default: 54 where findings are disputed, 16 elsewhere."""

    def __post_init__(self) -> None:
        require_seeds(self.seed, 1 if self.num_seeds is None else self.num_seeds)


@dataclass(frozen=True, kw_only=True)
class SweepOptions(ExperimentOptions):
    """Train students over the values of any field of the protocol, or of any pair of fields.

    For example: `sweep --vary student_epochs 1 5 --vary loss kl squared-error`. What a command doesn't vary can be
    changed by `--set FIELD VALUE`.
    """

    vary: tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]] = ()
    """A field and its values; once or twice. Layers of a network are joined by commas: 64,64."""
    set: tyro.conf.UseAppendAction[tuple[tuple[str, str], ...]] = ()
    """A field and the value it has at every point."""


def nearest(name: str, known: Sequence[str], kind: str) -> str:
    """Find a name, or say which come near.

    Args:
        name: What was asked for.
        known: What there is.
        kind: What it is called.

    Returns:
        The name.

    Raises:
        InputError: If it is unknown.
    """
    if name in known:
        return name
    near = get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
    raise InputError(f"unknown {kind} {name!r}: {hint}")


def run_studies(options: StudyOptions) -> bool:
    """Run the studies that were named.

    Args:
        options: The command's options.

    Returns:
        Whether no verdict fails.

    Raises:
        InputError: If one is unknown, or none is named.
    """
    names = list(STUDIES) if "all" in options.names else list(options.names)
    for name in names:
        nearest(name, list(STUDIES), "study")
    if not names:
        raise InputError(f"name a study, or all: there are {', '.join(STUDIES)}")
    source = choose_images(options)
    good = True
    for name in names:
        study = STUDIES[name]
        base = replace(PROTOCOLS[source.name], precision=options.precision)
        points = {label: changed(base, changes) for label, changes in study.points.items()}
        if source.name == "digits":
            points = {label: point for label, point in points.items() if point.images != "other"}
        findings = study.findings if source.name == "mnist" else ()
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


def changed(base: Protocol, changes: Any) -> Protocol:
    """Change fields of a protocol.

    Args:
        base: The protocol.
        changes: Values by field.

    Returns:
        The new one.

    Raises:
        InputError: If they don't go together.
    """
    try:
        return replace(base, **changes)
    except ValueError as error:
        raise InputError(str(error)) from error


def parse(field: str, text: str) -> Any:
    """Read a field's value.

    Args:
        field: The field's name.
        text: As one types it.

    Returns:
        The value.

    Raises:
        InputError: If the field is unknown or the value none of its type.
    """
    nearest(field, [each.name for each in fields(Protocol)], "field")
    default = getattr(Protocol(), field)
    try:
        if field == "hidden":
            return tuple(map(int, text.split(",")))
        if isinstance(default, bool):
            return {"true": True, "false": False}[text.lower()]
        kind = {"student_learning_rate": float, "student_depth": int}.get(field, type(default))
        return kind(text)
    except (ValueError, KeyError) as error:
        raise InputError(f"{field} can't be {text!r}") from error


def run_field_sweep(options: SweepOptions) -> bool:
    """Run every combination of the fields' values.

    Args:
        options: The command's options.

    Returns:
        Whether no verdict fails.

    Raises:
        InputError: If a field or a value can't be used.
    """
    if not 1 <= len(options.vary) <= 2 or any(len(each) < 2 for each in options.vary):
        raise InputError("give --vary once or twice: a field, then its values")
    axes = {name: [parse(name, value) for value in values] for name, *values in options.vary}
    count = 1
    for values in axes.values():
        count *= len(values)
    if count > MOST_POINTS or len(axes) != len(options.vary):
        raise InputError(f"{count} points are asked for: vary different fields, over at most {MOST_POINTS} points")
    fixed = {name: parse(name, value) for name, value in options.set}
    source = choose_images(options)
    base = changed(replace(PROTOCOLS[source.name], precision=options.precision), fixed)
    points = {}
    for values in product(*axes.values()):
        label = ", ".join(f"{name} = {value}" for name, value in zip(axes, values, strict=True))
        points[label] = changed(base, dict(zip(axes, values, strict=True)))
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
