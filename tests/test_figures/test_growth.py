"""Growth on both rungs: ideal lines and ratios from records made up here, where every number is known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from figures.build import save_spanning
from figures.gallery import gallery_page
from figures.growth import curves_of, growth, is_measured
from figures.growth_plots import draw_growth
from figures.page import gallery_html
from theory.runs.records import FILES, Record, read_record

THEORY, DIGITS = "theory-benchmark", "mlp-mnist-benchmark"
SEEDS, CHUNK = (1, 10, 1000), 64
WAYS = {"1 device": 1.0, "2 devices": 0.5, "4 devices": 0.6, "2 processes of 1 device": 0.8}
GIB = 2**30
GALLERY = Path(__file__).parents[2] / "figures"


def made_up(config: dict[str, Any], arrays: dict[str, Any]) -> Record:
    return Record(Path(), config, {name: np.asarray(values) for name, values in arrays.items()}, [], "", {})


def make_records(noise: float = 0.1) -> dict[str, Record]:
    """A millisecond a seed, in whole chunks of 64, and three seconds a seed of digits."""
    spread = 1 + np.array([[0], [-noise], [noise]])
    theory: dict[str, Any] = {"growth/cores": 2, "growth/at once": CHUNK}
    for way, share in WAYS.items():
        theory[f"growth/{way}/seconds"] = share * spread * np.array([0.064, 0.064, 1.0])
        theory[f"growth/{way}/memory"] = np.array([GIB, GIB, 1.5 * GIB])
    digits: dict[str, Any] = {"at once": 1}
    for name in ("float32", "bf16"):
        digits |= {f"seconds/{name}": spread * np.array([3.0, 6.0]), f"memory/{name}": np.array([2 * GIB, 2 * GIB])}
    config = {"num_seeds": [1, 2], "precisions": ["float32", "bf16"], "data": "mnist"}
    return {
        THEORY: made_up({"num_seeds": list(SEEDS), "devices": [2, 4], "processes": [1, 2]}, theory),
        DIGITS: made_up(config, digits),
    }


def test_a_run_in_proportion_to_seeds_is_ideal_and_flat_below_a_full_chunk():
    curves = curves_of(make_records())
    assert list(curves) == ["random networks", "MNIST, float32", "MNIST, bf16"]
    np.testing.assert_allclose(curves["random networks"].ideal, [0.064, 0.064, 1.0])
    np.testing.assert_allclose(curves["MNIST, bf16"].ideal, [3.0, 6.0])


def test_ways_are_compared_with_one_device_repetition_by_repetition():
    outcome = growth(make_records())
    assert outcome.results["shared/devices/number"].tolist() == [1, 2, 4]
    np.testing.assert_allclose(outcome.results["shared/devices/times"], np.ones((3, 1)) / [[1, 0.5, 0.6]])
    np.testing.assert_allclose(outcome.results["shared/processes/times"], np.ones((3, 1)) / [[1, 0.8]])
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in outcome.table.splitlines()]
    assert ["devices of one process", "4", "1.667 [1.667, 1.667]", "2"] in rows
    assert ["random networks", "1000", "1 [0.9, 1.1]", "1", "1.00", "1.5 GiB"] in rows


@pytest.mark.parametrize(("folder", "array"), [(THEORY, "growth/cores"), (DIGITS, "at once")])
def test_growth_is_left_out_where_a_benchmark_is_missing_or_older(folder, array, tmp_path):
    records = make_records()
    assert is_measured(records)
    assert not is_measured({name: record for name, record in records.items() if name != folder})
    del records[folder].results[array]
    assert save_spanning("growth", records, tmp_path, {"command": "figures full"}, fresh=False) == {}
    assert not list(tmp_path.iterdir())


def test_growth_is_drawn_with_an_ideal_line_in_every_panel():
    axes = draw_growth(growth(make_records())).axes
    assert len(axes) == 4
    for panel in axes:
        legend = panel.get_legend()
        assert legend is not None
        assert sum(text.get_text().startswith("ideal") for text in legend.get_texts()) == 1


def test_growth_is_saved_once_and_shown_in_the_gallery(tmp_path):
    config = {"command": "figures full"}
    saved = save_spanning("growth", make_records(), tmp_path, config, fresh=False)
    assert {path.name for path in (tmp_path / "growth").iterdir()} == set(FILES)
    assert read_record(tmp_path / "growth").config == {"command": "figures growth"}
    again = save_spanning("growth", make_records(), tmp_path, config, fresh=False)
    assert again["growth"].provenance == saved["growth"].provenance
    other = save_spanning("growth", make_records(noise=0.2), tmp_path, config, fresh=False)
    assert other["growth"].table != saved["growth"].table
    assert "## How time and memory grow" in gallery_page(saved, "python -m figures")
    page = gallery_html(saved, "python -m figures", tmp_path).decode()
    assert 'href="growth/index.html"' in page
    assert page.count("<svg") == 1


@pytest.mark.skipif(not (GALLERY / "growth").exists(), reason="not committed yet")
def test_committed_growth_is_made_from_the_committed_records():
    records = {folder: read_record(GALLERY / folder) for folder in (THEORY, DIGITS)}
    assert read_record(GALLERY / "growth").table == growth(records).table
