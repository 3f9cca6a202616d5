"""Checks as pages show them: numbers in words, and what is accepted, measured and of the control on one scale."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from theory.runs.statistics import Estimate

RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
"""How powers of ten are written."""


class Mark(NamedTuple):
    """A range on a check's scale, in percent of its width."""

    kind: str
    """What it is: accepted, control or measured; a figure that lies outside of the scale also says on which side."""
    left: float
    """Where it begins."""
    width: float
    """How wide it is."""
    point: float | None = None
    """Where the figure itself is, if it lies on the scale."""


class Row(NamedTuple):
    """A check as the page shows it."""

    says: str
    """What was measured."""
    outcome: str
    """Its verdict."""
    predicted: str
    """What theory says."""
    measured: str
    """The figure."""
    interval: str
    """Its interval in words."""
    accepted: str
    """What would agree with the prediction, in words; empty if nothing is judged."""
    why: str
    """Why there is no verdict, where there is none."""
    control: str
    """What was broken."""
    control_measured: str
    """The same figure with that broken, and its interval."""
    control_said: str
    """What the judge said of it."""
    marks: list[Mark]
    """The same as a picture."""
    spoken: str
    """The same as a sentence."""


def row_of(verdict: Mapping[str, Any], unit: str = "seed") -> Row:
    """Lay out a check; `unit` is what an instance is called where there is only one."""
    measured = Estimate(float(verdict["measured"]), *map(float, verdict["interval"]))
    control = verdict["control_measured"] and Estimate(*map(float, verdict["control_measured"]))
    why = verdict.get("reason", "")
    if measured.is_endless and verdict["instances"] == 1:
        why = f"one {unit}: no verdict"
    elif why:
        why = f"no verdict: {why}" if verdict["verdict"] == "reported" else why
    elif verdict["verdict"] == "reported":
        why = "theory guarantees nothing here"
    said = {True: "refused: it flips", False: "NOT refused: it does not flip", None: ""}[verdict["control_flips"]]
    accepted = _accepted(verdict["accepted"]) if verdict["accepted"] else ""
    control_measured = _with_interval(control) if control else ""
    spoken = f"measured {_with_interval(measured)}"
    spoken += f"; accepted: {accepted}" if accepted else ""
    spoken += f"; control {control_measured}{', ' if said else ''}{said}" if control else ""
    return Row(
        says=verdict["check"],
        outcome=verdict["verdict"],
        predicted=verdict["predicted"],
        measured=_number(measured.value),
        interval=_interval(measured),
        accepted=accepted,
        why=why,
        control=verdict["control"],
        control_measured=control_measured,
        control_said=said,
        marks=_marks(measured, verdict["accepted"], control),
        spoken=spoken,
    )


def counts(rows: Sequence[Row]) -> dict[str, int]:
    """Count how checks came out."""
    found = Counter(row.outcome for row in rows)
    return {outcome: found[outcome] for outcome in ("holds", "fails", "reported")}


def _number(value: float) -> str:
    """Write a figure."""
    if math.isnan(value):
        return "nothing"
    digits, _, power = f"{value:#.4g}".rstrip(".").replace("-", "−").partition("e")
    power = f"×10{str(int(power.replace('−', '-'))).translate(RAISED)}" if power else ""
    return "0" if value == 0 else digits.rstrip(".") + power


def _with_interval(measured: Estimate) -> str:
    """Write a figure and its interval, if it has one."""
    interval = _interval(measured)
    return _number(measured.value) + (f" ({interval})" if interval else "")


def _interval(measured: Estimate) -> str:
    """Write an interval in words."""
    low, high = measured.low, measured.high
    if measured.is_nan or measured.is_endless:
        return "no interval"
    if math.isinf(high):
        return f"interval from {_number(low)}"
    if math.isinf(low):
        return f"interval up to {_number(high)}"
    return "" if low == high == measured.value else f"interval {_number(low)} to {_number(high)}"


def _accepted(accepted: Sequence[Any]) -> str:
    """Write in words what a measured interval must do."""
    low, high, rule = float(accepted[0]), float(accepted[1]), accepted[2]
    if math.isinf(high):
        bound = "above 0" if 0 < low < 1e-300 else f"at least {_number(low)}"
    elif math.isinf(low):
        bound = "below 0" if -1e-300 < high < 0 else f"at most {_number(high)}"
    else:
        bound = _number(low) if low == high else f"{_number(low)} to {_number(high)}"
        bound = bound if rule == "covers" else f"within {bound}"
    return f"the interval reaches {bound}" if rule == "covers" else f"all of the interval {bound}"


def _marks(measured: Estimate, accepted: Sequence[Any] | None, control: Estimate | None) -> list[Mark]:
    """Lay out what is accepted, the control and the measurement on one scale; a far control stands at its end."""
    ranges = [("accepted", float(accepted[0]), float(accepted[1]), None)] if accepted else []
    ranges += [("control", control.low, control.high, control.value)] if control else []
    ranges += [("measured", measured.low, measured.high, measured.value)]
    known = [measured.value, *(end for kind, *ends, _ in ranges if kind != "control" for end in ends)]
    known = [each for each in known if math.isfinite(each)]
    if not known:
        return []
    low, high = min(known), max(known)
    reach = (high - low) or abs(high) or 1.0
    others = [each for each in (control or ()) if math.isfinite(each)]
    low = min([low, *(max(each, low - 3 * reach) for each in others)]) - 0.1 * reach
    high = max([high, *(min(each, high + 3 * reach) for each in others)]) + 0.1 * reach

    def place(value: float) -> float:
        return round(100 * min(1.0, max(0.0, (value - low) / (high - low))), 1)

    def side(value: float | None) -> str:
        return "" if value is None or low <= value <= high else " before" if value < low else " after"

    return [
        Mark(
            kind + side(point),
            place(start),
            round(place(end) - place(start), 1),
            None if point is None else place(point),
        )
        for kind, start, end, point in ranges
        if not any(math.isnan(each) for each in (start, end))
    ]
