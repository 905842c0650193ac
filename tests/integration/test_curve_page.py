"""The curve's page in a real browser: it asks the network for nothing, draws, switches axes, tells on hover, and its
labels don't overlap; and the comparison page loads without a script."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from satisfice.experiments.curves import compare, save, save_comparison
from satisfice.testing.reports import HOSTILE, made_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SIZES = {"wide": (1280, 900), "narrow": (400, 800)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    place = next(filter(None, map(shutil.which, BROWSERS)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no browser to test with: {error}")
    if place is None:
        if os.environ.get("CI"):
            pytest.fail(f"CI has none of {', '.join(BROWSERS)}")
        pytest.skip(f"no browser to test with: none of {', '.join(BROWSERS)} is installed")
    with sync_playwright() as play:
        made = play.chromium.launch(executable_path=place, args=ARGS)
        yield made
        made.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("curve")
    report = made_report(("declared", HOSTILE, "fitted"))
    save(report, folder, command="satisfice curve --bank made-up")
    a, b = report.rows[0], report.rows[3]
    save_comparison(compare(a, b, report), folder)
    return folder


@pytest.fixture(params=SIZES)
def opened(browser, made, request) -> Iterator[tuple[Any, list[str], list[str]]]:
    """The page, what it asked for, and what went wrong in it."""
    width, height = SIZES[request.param]
    page = browser.new_page(viewport={"width": width, "height": height})
    asked: list[str] = []
    wrong: list[str] = []
    page.on("request", lambda r: asked.append(r.url))
    page.on("console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: wrong.append(str(e)))
    page.on("dialog", lambda d: (wrong.append(f"dialog: {d.message}"), d.dismiss()))
    page.goto((made / "index.html").as_uri())
    _ready(page, "usd log")
    yield page, asked, wrong
    page.close()


def _ready(page: Any, state: str) -> None:
    page.wait_for_selector(f'#plot[data-ready^="{state}"]', timeout=60_000)


def test_the_page_is_whole_without_a_network(opened):
    page, asked, wrong = opened
    assert [url.partition("?")[0].rpartition("/")[2] for url in asked] == ["index.html"]
    assert wrong == []
    assert page.locator("#plot .scatterlayer .trace").count() >= 5
    assert page.locator("figure, .figure svg").count() == 3


def test_labels_name_the_lines_and_never_overlap(opened):
    page, _, _ = opened
    for state in ("usd log", "usd linear", "tokens linear", "seconds log"):
        axis, scale = state.split()
        page.click(f'button[data-axis="{axis}"]')
        page.click(f'button[data-scale="{scale}"]')
        _ready(page, state)
        labels = page.locator("#plot .annotation-text")
        texts = labels.all_text_contents()
        assert {"declared", "fitted"} <= set(texts)
        assert any(text.startswith("<script>") for text in texts)
        boxes = [labels.nth(i).bounding_box() for i in range(labels.count())]
        for a, b in combinations(boxes, 2):
            apart = a["x"] + a["width"] <= b["x"] + 1 or b["x"] + b["width"] <= a["x"] + 1
            apart = apart or a["y"] + a["height"] <= b["y"] + 1 or b["y"] + b["height"] <= a["y"] + 1
            assert apart, (state, texts)


def test_a_click_switches_the_axis_and_the_scale(opened):
    page, _, wrong = opened
    assert page.locator("#plot .xtitle").text_content() == "dollars per question"
    page.click('button[data-axis="seconds"]')
    _ready(page, "seconds log")
    assert page.locator("#plot .xtitle").text_content() == "seconds per question"
    assert page.get_attribute('button[data-axis="seconds"]', "aria-pressed") == "true"
    assert page.get_attribute('button[data-axis="usd"]', "aria-pressed") == "false"
    page.focus('button[data-scale="linear"]')
    page.keyboard.press("Enter")
    _ready(page, "seconds linear")
    assert page.evaluate("document.getElementById('plot')._fullLayout.xaxis.type") == "linear"
    assert wrong == []


def test_pointing_at_a_mark_tells_policy_settings_and_figures(opened):
    page, _, _ = opened
    # Where plotly drew the first point of the hostile line, in the page's pixels.
    x, y = page.evaluate(
        """() => { const plot = document.getElementById('plot'), box = plot.getBoundingClientRect();
        const trace = plot._fullData.find((t) => t.name && t.name.startsWith('<script>'));
        const { xaxis, yaxis } = plot._fullLayout;
        return [box.left + xaxis._offset + xaxis.d2p(trace.x[0]), box.top + yaxis._offset + yaxis.d2p(trace.y[0])]; }"""
    )
    page.mouse.move(x - 3, y - 3)
    page.mouse.move(x, y)
    page.wait_for_selector("#plot .hoverlayer .hovertext", timeout=10_000)
    said = page.locator("#plot .hoverlayer .hovertext").text_content()
    for part in ("<script>alert(1)", "policy: ", "worth: $0.01", "right: 0.", "questions: 60", "dollars per question"):
        assert part in said


def test_the_page_fits_its_window_and_prints(opened, tmp_path):
    page, _, _ = opened
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.querySelector('.controls')).display") == "none"
    assert page.pdf(path=tmp_path / "page.pdf").startswith(b"%PDF")
    # It was drawn at the paper's width, and is as before after it.
    page.wait_for_selector('#plot[data-printed="690"]', timeout=10_000)


def test_the_comparison_page_loads_alone(browser, made):
    page = browser.new_page(viewport={"width": 400, "height": 800})
    asked: list[str] = []
    page.on("request", lambda r: asked.append(r.url))
    page.goto((made / "compare.html").as_uri())
    assert len(asked) == 1
    assert page.evaluate("document.scripts.length") == 0
    assert "alert(1)" in page.locator("h1").text_content()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.close()
