"""Verdicts: a measured interval held against a prediction, next to a control that must not pass."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from theory.runs.statistics import Estimate

Outcome = Literal["holds", "fails", "reported"]


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """What a measured interval must do to agree with a prediction."""

    low: float
    """Lower end of the accepted range."""
    high: float
    """Upper end of the accepted range."""
    rule: Literal["inside", "covers"] = "inside"
    """`inside`: the whole interval lies in the range. `covers`: the interval touches the range."""

    def margin(self, measured: Estimate) -> float:
        """Distance of a measurement to the nearest end that matters; negative (or NaN) if refused."""
        if self.rule == "inside":
            return min(measured.low - self.low, self.high - measured.high)
        return min(measured.high - self.low, self.high - measured.low)

    def admits(self, measured: Estimate) -> bool:
        """Whether a measurement agrees."""
        return self.margin(measured) >= 0


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One check of one claim: prediction, measurement and control under the same judge."""

    claim: str
    """Name of the claim."""
    check: str
    """The quantity that was measured, in words."""
    predicted: str
    """What theory says of it."""
    measured: Estimate
    """What was measured, with its interval."""
    accepted: Accepted | None = None
    """When the measurement agrees; None where theory guarantees nothing."""
    control: str = ""
    """The assumption that was broken, in words."""
    control_measured: Estimate | None = None
    """The same quantity with that assumption broken."""
    instances: int = 1
    """Random instances behind the measurement; with none there is nothing to judge."""
    least_instances: int = 0
    """With fewer instances nothing is decided."""
    unjudged: str = ""
    """Why theory doesn't speak of what was measured, where it doesn't; then nothing is judged."""

    @property
    def reason(self) -> str:
        """Why there is nothing to judge or no figure, in words; empty if there is neither to explain."""
        if self.unjudged:
            return self.unjudged
        if self.instances == 0:
            return "no instance with A > 0" if self.least_instances == 0 else "no such instance"
        if self.measured.is_nan:
            return "not finite"
        return "too few instances" if self.accepted is not None and self._decides_nothing else ""

    @property
    def _decides_nothing(self) -> bool:
        return self.measured.is_endless or self.instances < self.least_instances

    @property
    def margin(self) -> float:
        """Distance of the measurement from being refused; NaN where nothing is guaranteed."""
        return math.nan if self.accepted is None else self.accepted.margin(self.measured)

    @property
    def control_flips(self) -> bool | None:
        """Whether the same judge refuses the control; None without a judge, a control or enough instances."""
        control, enough = self.control_measured, self.instances >= max(1, self.least_instances)
        if self.accepted is None or control is None or not enough or self.unjudged or control.is_endless:
            return None
        return not (control.is_nan or self.accepted.admits(control))

    @property
    def outcome(self) -> Outcome:
        """`holds` if the measurement agrees and the control does not; `reported` where there is nothing to judge.

        That is so where theory guarantees nothing, where no instance was there to judge, and where too few seeds leave
        an interval without ends. A control that measured nothing does not flip.
        """
        if self.instances == 0 or self.unjudged:
            return "reported"
        if self.measured.is_nan:
            return "fails"
        if self.accepted is None or self._decides_nothing:
            return "reported"
        return "holds" if self.accepted.admits(self.measured) and self.control_flips is not False else "fails"

    def record(self) -> dict[str, Any]:
        """The verdict as plain JSON values."""
        control = None if self.control_measured is None else list(self.control_measured)
        accepted = self.accepted and [self.accepted.low, self.accepted.high, self.accepted.rule]
        record: dict[str, object] = {
            "claim": self.claim,
            "check": self.check,
            "predicted": self.predicted,
            "measured": self.measured.value,
            "interval": [self.measured.low, self.measured.high],
            "accepted": accepted,
            "margin": self.margin,
            "control": self.control,
            "control_measured": control,
            "control_flips": self.control_flips,
            "instances": self.instances,
            "reason": self.reason,
            "verdict": self.outcome,
        }
        return json.loads(json.dumps(record), parse_constant=str)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lay out a table that reads well both as text and as Markdown, its lines padded to one width."""
    cells = [list(header), *[[str(cell).replace("|", "\\|") for cell in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in cells]
    rule = "| " + " | ".join("-" * width for width in widths) + " |"
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"


VERDICTS = ("claim", "check", "predicted", "measured [interval]", "control: measured", "verdict")
"""What stands above a table of verdicts."""


def verdict_table(verdicts: Sequence[Verdict]) -> str:
    """The table of verdicts that a record keeps."""
    rows: list[tuple[str, ...]] = []
    for verdict in verdicts:
        control = verdict.control
        if verdict.control_measured is not None:
            control += f": {verdict.control_measured}"
        if verdict.control_flips is not None:
            control += " (flips)" if verdict.control_flips else " (DOES NOT FLIP)"
        measured = f"{verdict.measured}: {verdict.reason}" if verdict.reason else str(verdict.measured)
        rows.append((verdict.claim, verdict.check, verdict.predicted, measured, control, verdict.outcome))
    return markdown_table(VERDICTS, rows)
