"""Pages in a real browser: they load from disk without errors, filter, print, fit a phone, and can be read by all."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from figures.page import gallery_html
from llm_bridge.pipeline.plots import draw_run
from mlp_mnist.pictures import draw_demo
from theory.pictures import draw
from theory.runs.page import page as page_of
from theory.runs.records import Record, complete, read_record

sync_api = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")

GALLERY = Path(__file__).parents[2] / "figures"
DRAWN = {"theory-six-decades": draw, "mlp-mnist-demo": draw_demo, "llm-bridge-run-smollm2": draw_run}
CLAIMS = "claims.html"
PAGES = [*(f"{folder}/index.html" for folder in DRAWN), "index.html", CLAIMS]
LIGHTS = ("light", "dark")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gallery")
    records = {name: read_record(GALLERY / name)._replace(folder=folder / name) for name in DRAWN}
    for name, record in records.items():
        complete(record, DRAWN[name])
    (folder / "index.html").write_bytes(gallery_html(records, "python -m figures", folder))
    (folder / CLAIMS).write_bytes(all_claims(records["theory-six-decades"]))
    return folder


def all_claims(record: Record) -> bytes:
    """Every claim of the theory with its derivation, under one picture."""
    verdicts = json.loads((GALLERY / "theory-verify" / "verdicts.json").read_text())
    figures = {"figure": (record.folder / "figure.svg").read_text(encoding="utf-8")}
    return page_of(record._replace(verdicts=verdicts, results={}), figures)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    page = browser.new_page()
    yield page
    page.close()


def address(folder: Path, name: str) -> str:
    return (folder / name).as_uri()


def barriers(page: Any) -> list[tuple[str, str]]:
    found = axe.Axe().run(page).response["violations"]
    return [(each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in {"serious", "critical"}]


def shown(page: Any) -> list[str]:
    return page.eval_on_selector_all(
        "article[data-name]:not([hidden])", "cards => cards.map(card => card.dataset.name)"
    )


@pytest.mark.parametrize("name", PAGES)
def test_page_loads_from_disk_without_an_error_and_asks_for_nothing_else(name, page, folder):
    errors, asked = [], []
    page.on("pageerror", lambda error: errors.append(error))
    page.on("console", lambda line: errors.append(line.text) if line.type in {"error", "warning"} else None)
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address(folder, name))
    assert not errors
    assert [url for url in asked if not url.startswith("data:")] == [address(folder, name)]
    assert page.locator("svg[role=img]").first.is_visible()


def test_claims_are_filtered_by_name_and_by_verdict_from_the_keyboard(page, folder):
    page.goto(address(folder, "mlp-mnist-demo/index.html"))
    assert shown(page) == ["auxiliary-logits", "all-logits", "replication"]
    page.focus("#filter")
    page.keyboard.type("Replication")
    assert shown(page) == ["replication"]
    assert page.locator("[role=status]").inner_text() == "1 of 3 shown"
    page.fill("#filter", "")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowLeft")
    assert page.locator(":checked").get_attribute("value") == "reported"
    assert shown(page) == ["all-logits"]
    assert page.locator("article:not([hidden]) .check").first.is_visible()
    page.check("[value=fails]")
    assert not shown(page)


def test_gallery_is_filtered_by_figure(page, folder):
    page.goto(address(folder, "index.html"))
    page.fill("#filter", "owls")
    assert shown(page) == []
    page.fill("#filter", "auxiliary logits")
    assert shown(page) == ["mlp-mnist-demo"]


def test_hover_tells_the_interval_what_is_accepted_and_the_control(page, folder):
    page.goto(address(folder, "mlp-mnist-demo/index.html"))
    told = page.locator(".scale").first.get_attribute("title")
    assert "interval 0.4196 to 0.4808" in told
    assert "accepted: all of the interval above 0" in told
    assert "refused: it flips" in told


def test_page_prints_with_all_that_is_folded(page, folder):
    page.goto(address(folder, "theory-six-decades/index.html"))
    assert page.locator("details:not([open])").count() > 0
    assert len(page.pdf()) > 10_000
    assert page.locator("details:not([open])").count() == 0


@pytest.mark.parametrize("width", [400, 800, 1600])
@pytest.mark.parametrize("name", PAGES)
def test_page_does_not_scroll_sideways(name, width, page, folder):
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(address(folder, name))
    page.eval_on_selector_all("details", "parts => parts.forEach(part => { part.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("light", LIGHTS)
@pytest.mark.parametrize("name", PAGES)
def test_no_reader_is_shut_out(name, light, page, folder):
    page.emulate_media(color_scheme=light)
    page.set_viewport_size({"width": 400, "height": 900})
    page.goto(address(folder, name))
    page.eval_on_selector_all("details", "parts => parts.forEach(part => { part.open = true; })")
    assert not barriers(page)


def test_barrier_would_be_found(page):
    page.set_content('<html lang="en"><title>A page</title><main><h1>A page</h1><img src="data:,"></main></html>')
    assert [name for name, _ in barriers(page)] == ["image-alt"]
