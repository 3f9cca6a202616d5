"""The API reference: every formula and list of the docstrings reaches its page as it was written.

That pdoc builds all pages without a warning is a step of `.ci/run`, as it imports and renders every module.
"""

import ast
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from inspect import cleandoc
from pathlib import Path

import pdoc.docstrings
import pdoc.render_helpers
import pytest

ROOT = Path(__file__).parents[2]
FORMULA = re.compile(r"\$\$.+?\$\$|\$[^$]+?\$", re.S)
ITEM = re.compile(r"^ *(?:[-*+]|\d+\.) +\S", re.M)


class Page(HTMLParser):
    """What a browser shows of a docstring."""

    def __init__(self, docstring: str, source: Path) -> None:
        super().__init__()
        self.text, self.num_items = "", 0
        markdown = pdoc.docstrings.convert(docstring, "google", source)
        self.feed(pdoc.render_helpers.to_html(markdown))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.num_items += tag == "li"

    def handle_data(self, data: str) -> None:
        self.text += data


def docstrings(source: Path) -> Iterator[str]:
    """What is written about modules, classes, functions, and attributes."""
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield cleandoc(node.value.value)


def formulas(text: str) -> list[str]:
    return [" ".join(formula.split()) for formula in FORMULA.findall(re.sub("`[^`]*`", "", text))]


def lost(docstring: str, source: Path) -> list[str]:
    """Formulas that don't come out of Markdown as they went in."""
    shown = " ".join(Page(docstring, source).text.split())
    return [formula for formula in formulas(docstring) if formula not in shown]


@pytest.mark.parametrize("package", ["theory", "mlp_mnist", "llm_bridge"])
def test_every_formula_of_the_docstrings_reaches_its_page(package: str):
    written = [(source, text) for source in sorted((ROOT / package).rglob("*.py")) for text in docstrings(source)]
    with_formulas = [(source, text) for source, text in written if formulas(text)]
    assert len(with_formulas) > 20
    wrong = {source.relative_to(ROOT): missing for source, text in with_formulas if (missing := lost(text, source))}
    assert not wrong


@pytest.mark.parametrize(
    "broken",
    ["$r^*/r$ and $1/r^*$", "$$a\n+ b$$", "$x \\in \\{1, 2\\}$", "$\\sum_{j<t} j$", "$D^2\\!f$"],
)
def test_formula_that_markdown_would_change_is_noticed(broken: str):
    assert lost(broken, ROOT / "theory")


@pytest.mark.parametrize("package", ["theory", "mlp_mnist", "llm_bridge"])
def test_every_list_of_the_docstrings_is_one_on_its_page(package: str):
    sources = sorted((ROOT / package).rglob("*.py"))
    listed = [(source, text) for source in sources for text in docstrings(source) if ITEM.search(text)]
    for source, text in listed:
        assert Page(text, source).num_items >= len(ITEM.findall(text)), (source, text)
