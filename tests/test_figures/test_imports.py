"""Imports flow one way: theory, then the experiments, then the figures, and within a package from what lies below."""

import ast
from graphlib import CycleError, TopologicalSorter
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


BELOW = {
    "theory/runs": {"theory.runs"},
    "llm_bridge/text": {"llm_bridge.text"},
    "llm_bridge/model": {"llm_bridge.text", "llm_bridge.model"},
    "llm_bridge/files": {"llm_bridge.model", "llm_bridge.files"},
}
"""What the lowest folders of a package may take from it."""


def imported_modules(path: Path) -> set[str]:
    """Names that a file imports from the project when it is imported itself."""
    found = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ImportFrom)]
    names = {f"{node.module}.{alias.name}" for node in found for alias in node.names}
    return {name for name in names if name.split(".")[0] in MAY_IMPORT}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def order_of(package: Path) -> list[str]:
    """Modules of a package, each behind all that it imports; an error if some import each other."""
    modules = {module_of(path): path for path in package.rglob("*.py")}

    def taken(path: Path) -> set[str]:
        names = imported_modules(path)
        return {name if name in modules else name.rpartition(".")[0] for name in names} & set(modules)

    graph = {name: taken(path) - {name} for name, path in modules.items()}
    return list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_no_modules_import_each_other(package: str):
    assert len(order_of(ROOT / package)) == len(list((ROOT / package).rglob("*.py")))


def test_modules_that_import_each_other_would_be_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "theory").mkdir()
    (tmp_path / "theory" / "one.py").write_text("from theory.two import x\n")
    (tmp_path / "theory" / "two.py").write_text("import json\nfrom theory.one import y\n")
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    with pytest.raises(CycleError):
        order_of(tmp_path / "theory")


@pytest.mark.parametrize("folder", BELOW)
def test_the_lowest_folders_take_nothing_from_above(folder: str):
    own = folder.split("/")[0]
    for path in (ROOT / folder).rglob("*.py"):
        taken = {name for name in imported_modules(path) if name.split(".")[0] == own and name != own}
        assert all(any(name.startswith(below) for below in BELOW[folder]) for name in taken), path
