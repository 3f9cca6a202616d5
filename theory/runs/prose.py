"""Prose as HTML: the Markdown that docstrings and tables use, formulas as MathML."""

import re
from html import escape
from typing import NamedTuple

from latex2mathml.converter import convert

from theory.runs.svg import NO_BREAK

INLINE = re.compile(
    r"\$(?P<math>[^$]+)\$|`(?P<code>[^`]+)`|(?<!\w)\*(?P<stress>[^*\s][^*]*)\*(?!\w)"
    r"|\[(?P<link>[^\]]+)\]\((?P<place>[\w./#-]+)\)"
)
"""What stands inside a line: a formula, code, stress, a link to a place beside the page."""

SUBSCRIPT = re.compile(r"(?<![^\W\d_])([^\W\d_]|∇)_([^\W_]{1,3}|∞)(?![^\W_])")
"""A symbol of one letter with up to three letters or digits below it."""

MINUS = re.compile(r"(?<![\w.])-(?=\d)")
"""The sign of a number."""

TOGETHER = re.compile(" ([±…]) ")
"""What keeps the numbers beside it on its line."""


class Table(NamedTuple):
    """A table."""

    header: list[str]
    """What its columns are."""
    rows: list[list[str]]
    """Its cells, line by line."""


def blocks(text: str) -> list[str | Table]:
    """Take a Markdown text apart into paragraphs and tables."""
    found: list[str | Table] = []
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = block.strip().splitlines()
        if len(lines) > 1 and lines[0].startswith("|") and set(lines[1]) <= set("|- "):
            header, _, *rows = map(_cells, lines)
            found.append(Table(header, rows))
        elif lines:
            found.append("\n".join(line.strip() for line in lines))
    return found


def html(text: str) -> str:
    """Write a Markdown text as HTML, its formulas as MathML."""
    return "".join(_block(block) for block in blocks(text))


def inline(text: str) -> str:
    """Write a line of Markdown as HTML."""
    parts, end = [], 0
    for found in INLINE.finditer(text):
        parts.append(symbols(text[end : found.start()]))
        if math := found["math"]:
            parts.append(convert(math))
        elif code := found["code"]:
            parts.append(f"<code>{escape(code)}</code>")
        elif link := found["link"]:
            parts.append(f'<a href="{found["place"]}">{symbols(link)}</a>')
        else:
            parts.append(f"<em>{symbols(found['stress'])}</em>")
        end = found.end()
    return "".join([*parts, symbols(text[end:])])


def symbols(text: str) -> str:
    """Write a line without markup as HTML, what stands behind an underscore in a symbol below it."""
    return SUBSCRIPT.sub(r"\1<sub>\2</sub>", escape(text))


def _block(block: str | Table) -> str:
    """Write a paragraph with its displayed formulas, a list, or a table."""
    if isinstance(block, Table):
        header = "".join(f'<th scope="col">{inline(cell)}</th>' if cell else "<td></td>" for cell in block.header)
        rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in block.rows)
        return f'<div class="scroll"><table><thead><tr>{header}</tr></thead><tbody>{rows}</tbody></table></div>'
    pieces = re.split(r"\$\$(.+?)\$\$", block, flags=re.DOTALL)
    written = []
    for place, piece in enumerate(pieces):
        if place % 2:
            written.append(f'<div class="scroll formula">{convert(piece.strip(), display="block")}</div>')
        elif piece.startswith("- "):
            items = re.split(r"\n?^- ", piece, flags=re.MULTILINE)[1:]
            written.append(f"<ul>{''.join(f'<li>{inline(item)}</li>' for item in items)}</ul>")
        elif piece.strip():
            line = inline(piece.strip())
            written.append(f'<p class="scroll">{line}</p>' if "<math" in line else f"<p>{line}</p>")
    return "".join(written)


def _cell(text: str) -> str:
    """Write a cell."""
    text = TOGETHER.sub(rf"{NO_BREAK}\1{NO_BREAK}", MINUS.sub("−", text))
    return f"<td>{inline(text)}</td>"


def _cells(line: str) -> list[str]:
    """Take a line of a table apart; a bar in a cell is written with a backslash."""
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]
