"""The gallery as HTML: every figure with what became of its claims, all claims in words, nothing from elsewhere."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from figures.exhibits import EXHIBITS
from figures.page import gallery_html
from mlp_mnist.pictures import draw_demo
from theory.claim import claim_names
from theory.runs.records import Record, complete, read_record
from theory.runs.words import SENTENCES, SUBJECTS

GALLERY = Path(__file__).parents[2] / "figures"
FOLDERS = (
    "mlp-mnist-demo",
    "mlp-mnist-width",
    "llm-bridge-run",
    "llm-bridge-run-smollm2",
    "theory-six-decades",
    "ladder",
)


@pytest.fixture(scope="module")
def records() -> dict[str, Record]:
    return {name: read_record(GALLERY / name) for name in FOLDERS}


@pytest.fixture(scope="module")
def page(records: dict[str, Record], tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("gallery")
    demo = records["mlp-mnist-demo"]._replace(folder=folder / "mlp-mnist-demo")
    complete(demo, draw_demo)
    return gallery_html(records | {"mlp-mnist-demo": demo}, "python -m figures", folder).decode()


def test_every_exhibit_links_to_its_page_and_numbers(page):
    for name in FOLDERS[:-1]:
        for file in ("index.html", "verdicts.json", "results.npz", "provenance.json"):
            assert f'href="{name}/{file}"' in page


def test_what_others_found_is_on_the_page_with_its_study(page):
    found = page[page.index('id="findings"') :]
    assert '<a href="mlp-mnist-width/figure.png">width</a>' in found
    assert re.search(r"<td>(reproduced|refuted|undecided)</td>", found)


def test_verdicts_are_counted_as_they_are_recorded(page, records):
    counts = Counter(verdict["verdict"] for name in FOLDERS[:-1] for verdict in records[name].verdicts)
    for outcome in ("holds", "fails", "reported"):
        assert f'<span class="chip {outcome}">{counts[outcome]} {outcome}</span>' in page


def test_a_failure_is_said_at_the_top_and_changes_the_answer(page, records):
    demo = records["mlp-mnist-demo"]
    failed = [verdict | {"verdict": "fails"} for verdict in demo.verdicts]
    text = gallery_html(records | {"mlp-mnist-demo": demo._replace(verdicts=failed)}, "", GALLERY).decode()
    assert "nothing failed" in page
    assert "nothing failed" not in text
    assert '<strong class="fails">Fails.</strong>' in text
    assert '<strong class="fails">Fails.</strong>' not in page


def test_digits_stand_beside_the_papers_and_one_base_has_no_verdict(page):
    assert re.search(r"<th[^>]*>paper \(N = 100\)</th>", page)
    assert "One base: no verdict." in page


def test_nothing_comes_from_elsewhere_and_no_two_things_have_one_name(page):
    assert not [each for each in re.findall(r'(?:src|href)="([^"]*)"', page) if re.match(r"(\w+:)?//", each)]
    names = re.findall(r'\bid="([^"]*)"', page)
    assert len(names) == len(set(names))


def test_every_committed_claim_and_command_is_told_in_words():
    for exhibit in EXHIBITS:
        folder = GALLERY / exhibit.folder
        config = json.loads((folder / "config.json").read_text())
        assert config["command"] in SUBJECTS or "question" in config
        for verdict in json.loads((folder / "verdicts.json").read_text()):
            assert verdict["claim"] in (
                claim_names() if exhibit.folder.startswith("theory-v") else {*SENTENCES, *claim_names()}
            )
