"""Pictures of the committed record: labeled, true of its verdicts, and drawn from the fields that they name."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes

from theory.claim import Claim, all_claims
from theory.pictures import draw, draw_alone, panels_of
from theory.runs.records import Record, read_record

RECORD = read_record(Path(__file__).parents[2] / "figures" / "theory-verify")
NAMES = [name for claim in all_claims().values() for name in claim.panels]


def claim_of(name: str) -> Claim:
    return next(claim for claim in all_claims().values() if name in claim.panels)


def alone(name: str, record: Record) -> Axes:
    claim = claim_of(name)
    return draw_alone(claim.panels[name], claim.read(record, claim.panels[name].shows)).axes[0]


def numbers(axes: Axes) -> list[np.ndarray]:
    """All that is drawn to scale: lines, bars, areas and images."""
    drawn = [np.ravel(np.asarray(line.get_xydata(), float)) for line in axes.lines]
    drawn += [np.ravel(path.vertices) for collection in axes.collections for path in collection.get_paths()]
    drawn += [np.ravel(image.get_array()) for image in axes.images]  # pyright: ignore
    return drawn + [patch.get_path().vertices.ravel() for patch in axes.patches]  # pyright: ignore


def test_every_picture_is_in_the_committed_record_in_the_order_of_the_claims():
    assert [name for name, _, _ in panels_of(RECORD)] == NAMES
    drawn = draw(RECORD)
    assert list(drawn) == ["figure", *NAMES]
    assert len(drawn["figure"].axes) >= len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_needs_no_other_numbers_than_those_it_names_and_has_labels(name):
    axes = alone(name, RECORD)
    claim, panel = claim_of(name), claim_of(name).panels[name]
    shown = {
        array: values
        for array, values in RECORD.results.items()
        if (array.split("/")[0] == claim.name and array.split("/")[-1] in panel.shows)
        or array.split("/")[0] in panel.beside
    }
    assert set(shown) < set(RECORD.results)
    again = alone(name, RECORD._replace(results=shown))
    assert axes.get_xlabel()
    assert axes.get_ylabel() or axes.get_yticklabels() or axes.texts
    for one, other in zip(numbers(axes), numbers(again), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", NAMES)
def test_the_title_is_true_of_the_verdicts(name):
    def title(outcome: str) -> str:
        verdicts = [verdict | {"verdict": outcome} for verdict in RECORD.verdicts]
        return alone(name, RECORD._replace(verdicts=verdicts)).get_title(loc="left")

    holds = title("holds")
    assert holds
    assert "fails" not in holds
    assert title("fails") == holds.replace(holds.split("\n")[0], f"{holds.split(chr(10))[0]}: fails")
    assert "not decided" in title("reported")


@pytest.mark.parametrize("name", NAMES)
def test_other_numbers_are_another_picture(name):
    factor = -1.5 if name in ("signs", "architecture") else 1.5

    def changed(record: Record) -> Record:
        random = np.random.default_rng(0)
        arrays = {
            array: values[::-1] * factor * random.uniform(0.5, 1, values.shape) if values.dtype.kind == "f" else values
            for array, values in record.results.items()
        }
        return record._replace(results=arrays)

    one, other = (numbers(alone(name, record)) for record in (RECORD, changed(RECORD)))
    assert len(one) != len(other) or any(a.shape != b.shape or np.any(a != b) for a, b in zip(one, other, strict=True))
