"""The gallery: the overview across rungs, and the page that shows every figure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from figures.exhibits import EXHIBITS, Exhibit
from llm_bridge.studies.catalog import STUDIES as LANGUAGE_STUDIES
from mlp_mnist.pictures import draw_arms, draw_inits
from mlp_mnist.studies import STUDIES
from theory.claims import signs
from theory.claims.signs import SHARING
from theory.pictures import panels_of
from theory.runs.records import PICTURES, Record
from theory.runs.style import STYLE, new_figure
from theory.runs.verdicts import markdown_table

SPANNING = {
    "ladder": (
        "The ladder",
        "Alignment, predicted and measured trait change of the same three students on every rung.",
    ),
    "growth": (
        "How time and memory grow",
        "From one seed to thousands of random networks and to a hundred of digits, from one device to several, in one "
        "process and in two, each beside its ideal line.",
    ),
}
"""Title and sentence of each figure that spans rungs, by folder."""


def draw_overview(records: Mapping[str, Record]) -> Figure:
    """Draw one panel a result, across rungs.

    Args:
        records: Each exhibit's record, by folder.

    Returns:
        The figure.
    """
    theory, demo, inits = (records[name] for name in ("theory-verify", "mlp-mnist-demo", "mlp-mnist-compare-inits"))
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(2, 2, 5.6, 4.0)
        panels = {name: (panel, evidence) for name, panel, evidence in panels_of(theory)}
        for place, name in zip(axes, ("alignment", "signs"), strict=False):
            panel, evidence = panels[name]
            panel.draw(place, evidence)
        draw_arms(axes[2], demo)
        draw_inits(axes[3], inits, "accuracy")
    return figure


def shared_against_stranger(records: Mapping[str, Record]) -> dict[str, np.ndarray]:
    """Collect what auxiliary outputs transfer, on each rung, to a student of the same and of another init.

    Args:
        records: Each exhibit's record, by folder.

    Returns:
        For random networks the first-order fall of the trait loss per step size, and for digits the accuracy gained;
        one number a seed.
    """
    demo = records["mlp-mnist-demo"].results
    forms = signs.CLAIM.read(records["theory-verify"]).first.own
    inits = list(SHARING)
    return {
        "random networks/shared": forms[:, inits.index("everything")],
        "random networks/stranger": forms[:, inits.index("nothing")],
        "digits/shared": demo["accuracy/student (aux)"] - demo["accuracy/reference"],
        "digits/stranger": demo["accuracy/cross-model (aux)"] - demo["accuracy/reference"],
    }


def summary_table(verdicts: Sequence[Mapping[str, Any]]) -> str:
    """Lay out the verdicts of several runs in one table.

    Args:
        verdicts: Verdicts as in `verdicts.json`.

    Returns:
        A Markdown table, narrower than each run's own.
    """

    def number(value: Any) -> str:
        return f"{value:#.4g}" if value else "0"

    def flips(verdict: Mapping[str, Any]) -> str:
        return {True: "flips", False: "DOES NOT FLIP", None: "–"}[verdict["control_flips"]]

    rows = [
        (each["claim"], each["check"], each["predicted"], number(each["measured"]), flips(each), each["verdict"])
        for each in verdicts
    ]
    return markdown_table(("claim", "check", "predicted", "measured", "control", "verdict"), rows)


def gallery_page(records: Mapping[str, Record], command: str) -> str:
    """Write the page that shows every figure with its claim, command and verdicts.

    Args:
        records: Each exhibit's record, by folder, and those that span rungs, as far as there are any.
        command: The command that rebuilds the page.

    Returns:
        Markdown.
    """
    parts = ["# Gallery\n", f"Rebuilt by `{command}`.\n"]
    parts += ["![Overview](overview/figure.png)\n", summary_counts(records)]
    parts += [spanning_section(name, records[name]) for name in SPANNING if name in records]
    for exhibit in EXHIBITS:
        if exhibit.folder not in records:
            continue
        record = records[exhibit.folder]
        made = record.provenance
        numbers = f", from the numbers of {made['numbers_from']}" if "numbers_from" in made else ""
        links = picture_links(record) if exhibit.folder == "theory-verify" else ""
        parts.append(
            f"## {exhibit.title}\n\n{claim_of(exhibit, record)}\n\n![{exhibit.title}]({exhibit.folder}/figure.png)\n\n"
            f"Made by `{made['command']}` at commit {made['commit']} on {made['device']}, {made['precision']}, "
            f"{made['duration_seconds']:.0f} s after its last start{numbers}.\n\n{links}{record.table}"
        )
    found = findings(records)
    return "\n".join([*parts, f"## What others found\n\n{found}" if found else ""])


def claim_of(exhibit: Exhibit, record: Record) -> str:
    """Say what an exhibit shows and, if that is a result, whether its record bears it out.

    Args:
        exhibit: The exhibit.
        record: Its record.

    Returns:
        A line of Markdown.
    """
    counts = Counter(verdict["verdict"] for verdict in record.verdicts)
    if not exhibit.asserts:
        return exhibit.claim
    if counts["fails"]:
        return f"**Fails** ({counts['fails']} of {counts.total()} checks): {exhibit.claim}"
    if counts["holds"]:
        return f"**Holds** ({counts['holds']} checks, none fails): {exhibit.claim}"
    return f"**Not decided** by this record, whose figures are reported: {exhibit.claim}"


def spanning_section(name: str, record: Record) -> str:
    """Show what spans rungs.

    Args:
        name: One of `SPANNING`.
        record: Its record.

    Returns:
        Markdown.
    """
    title, claim = SPANNING[name]
    return f"## {title}\n\n{claim}\n\n![{title}]({name}/figure.png)\n\n{record.table}"


def findings(records: Mapping[str, Record]) -> str:
    """Gather what others found, beside what the studies measured.

    Args:
        records: Each exhibit's record, by folder.

    Returns:
        A Markdown table; empty if no study has run.
    """
    rows = []
    names = {f"mlp-mnist-{name}": name for name in STUDIES}
    names |= {f"llm-bridge-study-{name}": name for name in LANGUAGE_STUDIES}
    for folder, name in names.items():
        if record := records.get(folder):
            for verdict in record.verdicts:
                if verdict["claim"] == "finding":
                    low, high = verdict["interval"]
                    measured = f"{verdict['measured']:.3f} [{low:.3f}, {high:.3f}]"
                    found = (f"[{name}]({folder}/figure.png)", verdict["predicted"], verdict["check"])
                    rows.append((*found, measured, verdict["control"]))
    header = ("study", "reported by others", "point", "measured here [95 % interval]", "verdict")
    return markdown_table(header, rows) if rows else ""


def picture_links(record: Record) -> str:
    """Link to the pictures that are drawn by themselves.

    Args:
        record: A run's record.

    Returns:
        A line of Markdown; empty if there are none.
    """
    links = [f"[{name}](theory-verify/{PICTURES}/{name}.png)" for name, _, _ in panels_of(record)]
    return f"Each panel by itself: {' · '.join(links)}.\n\n" if links else ""


def summary_counts(records: Mapping[str, Record]) -> str:
    """Count the verdicts of each figure.

    Args:
        records: Every record, by folder.

    Returns:
        A Markdown table.
    """
    rows = []
    for exhibit in EXHIBITS:
        if exhibit.folder not in records:
            continue
        outcomes = [verdict["verdict"] for verdict in records[exhibit.folder].verdicts]
        command = " ".join(("python -m", *exhibit.command))
        counts = [outcomes.count(outcome) for outcome in ("holds", "fails", "reported")]
        rows.append((f"[{exhibit.title}]({exhibit.folder}/figure.png)", f"`{command}`", *counts))
    return markdown_table(("figure", "command", "holds", "fails", "reported"), rows)
