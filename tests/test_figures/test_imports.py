"""Imports flow one way: theory, then the experiments, then the figures."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAY_IMPORT = {
    "theory": set(),
    "mlp_mnist": {"theory"},
    "llm_bridge": {"theory"},
    "figures": {"theory", "mlp_mnist", "llm_bridge"},
}


def imported_packages(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names.add((node.module or "").split(".")[0])
    return names & set(MAY_IMPORT)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_package_imports_only_what_lies_below_it(package: str):
    sources = list((ROOT / package).rglob("*.py"))
    assert sources
    wrong = {path.name: imported_packages(path) - MAY_IMPORT[package] - {package} for path in sources}
    assert not any(wrong.values()), wrong


def test_wrong_direction_would_be_noticed(tmp_path: Path):
    (tmp_path / "wrong.py").write_text("import json\nfrom figures.exhibits import EXHIBITS\n")
    assert imported_packages(tmp_path / "wrong.py") == {"figures"}
