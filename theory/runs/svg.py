"""Figures as small SVG: text stays text, dense clouds of points become pixels, the same bytes for the same figure."""

import io
import re
from collections.abc import Mapping
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

MOST_MARKS = 200
"""Lines and clouds of more marks in one panel than this become pixels."""

MOST_CORNERS = 2000
"""A line or area of more corners than this becomes pixels."""

DOTS = 110
"""Pixels an inch, for what becomes pixels."""

FONTS = "DejaVu Sans, Verdana, sans-serif"
"""Fonts of the text; matplotlib lays it out for the first, and the second is as wide."""

NO_BREAK = "\u00a0"
"""A space that stays where it is put."""


def svg_bytes(figure: "Figure") -> bytes:
    """Render a figure as SVG; what is dense in it is drawn as pixels from now on."""
    import matplotlib as mpl

    buffer = io.BytesIO()
    _rasterize(figure)
    undated = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "subliminal-learning"}):
        figure.savefig(buffer, format="svg", dpi=DOTS, metadata=undated)
    return _shorten(buffer.getvalue().decode()).encode()


def inline(svg: str, name: str, alt: str) -> str:
    """Make an SVG part of an HTML page: one picture to a screen reader, its ids none of another picture's.

    Args:
        svg: What `svg_bytes` made.
        name: A name that no other picture of the page has, of letters, digits and dashes.
        alt: What it shows, in a sentence free of markup.

    Returns:
        The `<svg>` element.
    """
    picture = re.sub(r"<style.*?</style>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    picture = re.sub(r'(\bid="|"#|url\(#)', rf"\g<1>{name}-", picture)
    size = re.search(r'width="([\d.]+)pt" height="[\d.]+pt" ', picture)
    if size is None:
        raise ValueError(f"{name} is no SVG of a figure: its size is missing")
    width = round(float(size[1]) * 4 / 3)
    picture = picture.replace(size[0], f'width="{width}" style="--wide: {width}px" ', 1)
    picture = picture.replace("<svg ", f'<svg role="img" aria-labelledby="{name}-title" ', 1)
    return picture.replace(">", f'><title id="{name}-title">{alt}</title>', 1)


def _rasterize(figure: "Figure") -> None:
    """Let dense artists be drawn as pixels."""
    from matplotlib.axes import Axes
    from matplotlib.collections import Collection

    for axes in figure.findobj(Axes):
        marks = {artist: _num_marks(artist) for artist in axes.get_children()}
        crowded = sum(marks.values()) > MOST_MARKS
        for artist, num_marks in marks.items():
            paths = artist.get_paths() if isinstance(artist, Collection) else []
            if (crowded and num_marks) or sum(np.size(path.vertices, axis=0) for path in paths) > MOST_CORNERS:
                artist.set_rasterized(True)


def _num_marks(artist: "Artist") -> int:
    """Count the marks that an artist draws one by one."""
    from matplotlib.collections import Collection
    from matplotlib.lines import Line2D

    if isinstance(artist, Line2D):
        return np.size(artist.get_xdata()) * (artist.get_marker() not in {None, "", " ", "None"})
    num_marks = np.size(artist.get_offsets(), axis=0) if isinstance(artist, Collection) else 0
    return num_marks if num_marks > 1 else 0


def _shorten(svg: str) -> str:
    """Drop what a picture doesn't need: digits past the second, names that nothing refers to, metadata, line breaks."""
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<\?xml.*?\?>|<!DOCTYPE.*?>", "", svg, flags=re.DOTALL)
    needed = set(re.findall(r"#([\w.-]+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in needed else "", svg)
    svg = re.sub(r'(?<==)"[^"]*"', lambda found: _round(found[0]), svg)
    svg = re.sub(r"font: (?:(\d+) )?([\d.]+px) [^;\"]*", _font, svg)
    svg = re.sub(r"; font-family: [^;\"]*", "", svg).replace("<svg ", f'<svg font-family="{FONTS}" ', 1)
    svg = svg.replace("xlink:href", "href").replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "")
    svg = re.sub(r' transform="rotate\(-0 [^"]*"', "", svg)
    looks = dict(re.findall(r'<path id="([^"]+)" d="[^"]*" (style="[^"]*")/>', svg))
    svg = re.sub(r'(<use href="#([^"]+)"[^>]*?) (style="[^"]*")', lambda use: _own_look(use, looks), svg)
    svg = re.sub(r">\s*\n\s*<", "><", svg).strip() + "\n"
    return re.sub(r"(?:<tspan [^>]*>[^<]</tspan>){2,}", lambda found: _join(found[0]), svg)


def _round(attribute: str) -> str:
    """Round the numbers of an attribute; embedded pixels have none."""
    if attribute.startswith('"data:'):
        return re.sub(r"\s", "", attribute)
    attribute = re.sub(r"\d+\.\d+", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), attribute)
    return re.sub(r"\s*\n\s*", " ", attribute)


def _own_look(use: re.Match[str], looks: Mapping[str, str]) -> str:
    """Leave out how a mark looks if it says so where it is defined."""
    return use[1] if looks.get(use[2]) == use[3] else use[0]


def _font(found: re.Match[str]) -> str:
    """Say weight and size of a font; its family is said once for all."""
    return (f"font-weight: {found[1]}; " if found[1] else "") + f"font-size: {found[2]}"


def _join(letters: str) -> str:
    """Write letters of one size on one line, each in its place, as one piece of text."""
    parsed = re.findall(r'<tspan x="([^"]*)" y="([^"]*)" style="([^"]*)">([^<])</tspan>', letters)
    joined = ""
    for (y, style), alike in groupby(parsed, key=itemgetter(1, 2)):
        places, _, _, text = zip(*alike, strict=True)
        letters = "".join(text).replace(" ", NO_BREAK)
        joined += f'<tspan x="{" ".join(places)}" y="{y}" style="{style}">{letters}</tspan>'
    return joined
