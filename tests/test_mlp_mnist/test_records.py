"""Committed records are what the same command would write today, so that finished runs stay finished."""

from pathlib import Path
from typing import Any

import pytest

from mlp_mnist import commands, options, sweeps
from mlp_mnist.data import Source
from mlp_mnist.options import Benchmark, CompareInits, Demo, StudyOptions, Theory
from theory.runs.files import json_text

GALLERY = Path(__file__).parents[2] / "figures"
RUNS: dict[str, tuple[Any, Any]] = {
    "demo": (commands.run_demo, Demo(num_seeds=100)),
    "compare-inits": (commands.run_comparison, CompareInits()),
    "theory": (commands.run_theory, Theory()),
    "benchmark": (
        commands.run_benchmark,
        Benchmark(epochs=1, against=Path("run_mnist_experiment.py"), against_seeds=10),
    ),
}


class RecordedError(Exception):
    """What would be recorded."""


@pytest.mark.parametrize("folder", sorted(GALLERY.glob("mlp-mnist-*")), ids=lambda folder: folder.name)
def test_a_run_of_today_has_the_committed_configuration_to_the_byte(folder, monkeypatch):
    def record_run(command: str, options: object, config: dict[str, Any], *rest: object, **notes: str) -> None:
        raise RecordedError(json_text({"command": command, **config}).decode())

    for module in (commands, sweeps):
        monkeypatch.setattr(module, "record_run", record_run)
    monkeypatch.setattr(options, "resolve", lambda name, folder: Source("mnist", None, ""))
    name = folder.name.removeprefix("mlp-mnist-")
    run, asked = RUNS.get(name, (sweeps.run_studies, StudyOptions(names=(name,))))
    with pytest.raises(RecordedError) as recorded:
        run(asked)
    assert str(recorded.value) == (folder / "config.json").read_text()
