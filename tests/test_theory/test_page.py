"""Pages: made from a record alone, complete, the same every time, and open to nothing outside of them."""

import importlib
import inspect
import re
import webbrowser
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from theory.claim import claim_names
from theory.runs import prose, provenance, svg
from theory.runs.command_line import RunOptions
from theory.runs.page import cards_of, command_of, no_verdict, page
from theory.runs.records import PAGE, Outcome, Record, in_memory, record_run
from theory.runs.rows import row_of
from theory.runs.statistics import Estimate
from theory.runs.svg import svg_bytes
from theory.runs.verdicts import Accepted, Verdict, verdict_table

WIDE = Accepted(low=1.95, high=2.05)
MADE = {"command": "python -m theory toy --seed 3 --output there --fresh", "commit": "0123456789ab"}


def verdict(value: float = 2.0, **about: Any) -> Verdict:
    told: dict[str, Any] = {
        "claim": "alignment",
        "check": "order of Δ_S·Δ_T < 3",
        "predicted": "2.00",
        "measured": Estimate(value, value - 0.01, value + 0.01),
        "accepted": WIDE,
        "control": "another init",
        "control_measured": Estimate(0.1, 0.0, 0.2),
    }
    return Verdict(**(told | about))


FORMATS = ("png", "pdf", "svg")


def record(*verdicts: Verdict, command: str = "theory toy", **config: Any) -> Record:
    results = {"toy/order": np.arange(6.0)}
    outcome = Outcome(results, verdicts, f"| a | b |\n| - | - |\n| x | -1 |\n\n{verdict_table(verdicts)}")
    return in_memory(outcome, Path("nowhere"), {"command": command, **config}, MADE)


def draw(record: Record, points: int = 6) -> Figure:
    figure = Figure(figsize=(3, 2))
    figure.subplots().plot(np.linspace(0, 5, points), np.sin(np.arange(points)), ".", label="a & b")
    figure.axes[0].set_title(r"steps of $\epsilon$")
    return figure


def written(record: Record) -> str:
    return page(record, {"figure": svg_bytes(draw(record)).decode()}).decode()


def test_same_record_gives_the_same_bytes():
    assert written(record(verdict())) == written(record(verdict()))
    assert written(record(verdict())) != written(record(verdict(1.99)))


def test_page_asks_for_nothing_outside():
    text = written(record(verdict()))
    addresses = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert addresses
    assert not [each for each in addresses if "//" in each]
    assert "@import" not in text
    assert "url(http" not in text


def test_every_check_stands_on_the_page_with_its_verdict_and_markup_is_no_markup():
    text = written(record(verdict(), verdict(3.0, check="of <b>another</b>"), verdict(accepted=None)))
    assert re.findall(r'<li class="check" data-verdict="(\w+)"', text) == ["holds", "fails", "reported"]
    assert "order of Δ<sub>S</sub>·Δ<sub>T</sub> &lt; 3" in text
    assert "of &lt;b&gt;another&lt;/b&gt;" in text
    assert "What failed</h2>" in text
    assert "<td>−1</td>" in text


def test_nothing_fails_where_nothing_failed():
    text = written(record(verdict()))
    assert "nothing failed" in text
    assert "What failed</h2>" not in text


def test_where_nothing_is_judged_the_numbers_come_first_and_nothing_is_counted():
    judged, stated = written(record(verdict())), written(record(verdict(accepted=None)))
    assert judged.index('id="answer"') < judged.index('id="picture"') < judged.index('id="numbers"')
    assert 'id="answer"' not in stated
    assert stated.index('id="numbers"') < stated.index('id="picture"')


@pytest.mark.parametrize(
    ("made", "outcome", "why", "said"),
    [
        (verdict(), "holds", "", "refused: it flips"),
        (verdict(control_measured=Estimate(2, 2, 2)), "fails", "", "NOT refused: it does not flip"),
        (verdict(accepted=None), "reported", "theory guarantees nothing here", ""),
        (verdict(least_instances=2), "reported", "no verdict: too few instances", ""),
        (verdict(measured=Estimate(2, -np.inf, np.inf)), "reported", "one base: no verdict", "refused: it flips"),
    ],
    ids=["holds", "control passes", "no guarantee", "too few", "one"],
)
def test_row_says_why_there_is_no_verdict_and_what_became_of_the_control(made, outcome, why, said):
    row = row_of(made.record(), "base")
    assert (row.outcome, row.why, row.control_said) == (outcome, why, said)


def test_numbers_and_intervals_are_written_for_readers():
    row = row_of(verdict(measured=Estimate(-1.5e-9, -np.inf, 12345.0)).record())
    assert row.measured == "−1.500×10⁻⁹"
    assert row.interval == "interval up to 1.234×10⁴"
    assert row.accepted == "all of the interval within 1.950 to 2.050"


def test_scale_shows_a_far_control_at_its_end():
    marks = row_of(verdict(control_measured=Estimate(900.0, 800.0, 1000.0)).record()).marks
    assert [mark.kind for mark in marks] == ["accepted", "control after", "measured"]
    accepted, control, measured = marks
    assert control.point == 100
    assert measured.point == pytest.approx(accepted.left + accepted.width / 2, abs=0.2)


def test_one_base_decides_nothing_and_says_so():
    one = verdict(measured=Estimate(2, -np.inf, np.inf))
    assert no_verdict(record(one, command="llm_bridge run")).startswith("One base: no verdict.")
    assert no_verdict(record(one, verdict())) == ""


def test_command_can_be_run_again_anywhere():
    assert command_of(record(verdict())) == "python -m theory toy --seed 3"


def test_claim_of_the_theory_is_told_with_its_formulas():
    kept = record(verdict(), command="theory.verify")._replace(results={})
    (card,) = cards_of(kept, {})
    assert card.number == "1"
    assert card.sentence.startswith("A step of imitation moves a student")
    assert "<math" in card.derivation


@pytest.mark.parametrize("name", claim_names())
def test_every_claims_docstring_becomes_html(name):
    module = importlib.import_module(f"theory.claims.{name.replace('-', '_')}")
    text = prose.html(inspect.getdoc(module) or "")
    assert "<math" in text
    outside = re.sub(r"<[^>]*>", "", text)
    assert "$" not in outside
    assert "\\" not in outside


def test_tables_lists_and_emphasis_are_read():
    text = prose.html("| a | b |\n| - | - |\n| 1 \\| 2 | `x` |\n\n- one\n- *two*\n\nL_T & $x^2$")
    assert "<td>1 | 2</td><td><code>x</code></td>" in text
    assert "<ul><li>one</li><li><em>two</em></li></ul>" in text
    assert prose.inline("[a_b](c/d-e.png) in [0, 1]") == '<a href="c/d-e.png">a<sub>b</sub></a> in [0, 1]'
    assert "href" not in prose.inline("[x](https://elsewhere)")
    assert '<p class="scroll">L<sub>T</sub> &amp; <math' in text


def test_picture_keeps_its_text_and_draws_clouds_as_pixels():
    few, many = (svg_bytes(draw(record(verdict()), points)).decode() for points in (6, 20_000))
    assert few.count("<use") > 6
    assert "data:image/png" not in few
    assert "data:image/png" in many
    assert len(many) < 20_000
    assert "steps of" in few.replace("\u00a0", " ")


def test_two_pictures_on_a_page_share_no_id():
    picture = svg_bytes(draw(record(verdict()))).decode()
    both = svg.inline(picture, "one", "One") + svg.inline(picture, "two", "Two")
    names = re.findall(r'\bid="([^"]*)"', both)
    assert len(names) == len(set(names)) > 4
    assert set(re.findall(r'(?:href="|url\()#([\w.-]+)', both)) <= set(names)
    assert '<title id="one-title">One</title>' in both


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    addresses: list[str] = []
    monkeypatch.setattr(provenance, "current_commit", lambda output: "0123456789ab")
    monkeypatch.setattr(webbrowser, "open", lambda address: addresses.append(address) or len(addresses) < 2)
    return addresses


def run(folder: Path, **options: Any) -> Record:
    made = Outcome({"x": np.arange(3.0)}, [verdict()], verdict_table([verdict()]))
    return record_run("theory toy", RunOptions(output=folder, **options), {"seed": 0}, lambda: made, draw)


def test_page_is_opened_when_asked_for_and_its_address_is_said_where_there_is_no_browser(tmp_path, opened, capsys):
    run(tmp_path)
    assert not opened
    run(tmp_path, open=True)
    run(tmp_path, open=True)
    assert opened == [(tmp_path / "index.html").as_uri()] * 2
    assert capsys.readouterr().err == f"no browser was found: open {opened[0]}\n"


def test_record_without_a_page_gets_the_same_one_from_its_numbers(tmp_path, opened):
    run(tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in PAGE}
    for name in PAGE:
        (tmp_path / name).unlink()
    run(tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in PAGE} == before


def test_parts_of_a_figure_are_drawn_by_themselves_and_stand_beside_their_claims(tmp_path, opened):
    made = Outcome({"x": np.arange(3.0)}, [verdict()], verdict_table([verdict()]))

    def draw_parts(record: Record) -> dict[str, Figure]:
        return {"figure": draw(record), "alignment": draw(record, points=7)}

    record_run("theory verify", RunOptions(output=tmp_path), {"seed": 0}, lambda: made, draw_parts)
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {f"alignment.{kind}" for kind in FORMATS}
    text = (tmp_path / "index.html").read_text()
    assert 'id="picture-alignment' in text
    assert 'id="figure-' not in text


def test_record_that_is_too_old_to_be_drawn_is_still_read(tmp_path, opened, capsys):
    run(tmp_path)
    (tmp_path / "index.html").unlink()

    def fail(record: Record) -> Figure:
        raise KeyError("renamed since")

    made = record_run("theory toy", RunOptions(output=tmp_path), {"seed": 0}, lambda: pytest.fail("again"), fail)
    assert made.none_fails
    assert "too old for a page" in capsys.readouterr().err


def test_drawing_a_page_leaves_the_global_style_alone():
    before = dict(mpl.rcParams)
    svg_bytes(draw(record(verdict())))
    assert dict(mpl.rcParams) == before
