"""The README of the theory: its example of a claim is one, found by being there, and its control flips."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import theory.claims
from theory import Sampling
from theory import claim as claims
from theory.runs.command_line import InputError

README = Path(theory.__file__).parent / "README.md"


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> claims.Claim:
    source, *_ = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "doubling.py").write_text(source, encoding="utf-8")
    monkeypatch.setattr("theory.claims.__path__", [*theory.claims.__path__, str(tmp_path)])
    return claims.find_claim("doubling")


def test_the_example_of_a_claim_holds_and_its_control_flips(example):
    report = example.verify(None, Sampling(num_seeds=32, cases="few"))
    assert [verdict.outcome for verdict in report.verdicts] == ["holds"]
    assert report.verdicts[0].control_flips


@pytest.mark.parametrize(
    ("file", "source", "found"),
    [
        ("copied", "from theory.claims.alignment import CLAIM", "is named 'alignment'"),
        ("empty", "", "defines no CLAIM"),
    ],
)
def test_a_module_that_is_no_claim_of_its_name_is_refused(file, source, found, tmp_path, monkeypatch):
    (tmp_path / f"{file}.py").write_text(source)
    monkeypatch.setattr("theory.claims.__path__", [*theory.claims.__path__, str(tmp_path)])
    with pytest.raises(InputError, match=f"{file}.py {found}: it must define CLAIM"):
        claims.find_claim(file)


def test_every_module_named_in_the_map_is_there():
    for name in re.findall(r"\]\(([a-z_/]+(?:\.py)?)\)", README.read_text(encoding="utf-8")):
        assert (README.parent / name).exists(), name


def test_claims_are_listed_without_what_only_runs_need():
    listing = "import sys, theory.__main__; from theory.claim import all_claims; all_claims(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True).stdout.split()
    assert {"jax", "theory.claims.alignment"} <= set(loaded)
    assert not {"flax", "matplotlib", "scipy.stats", "sklearn"} & set(loaded)
