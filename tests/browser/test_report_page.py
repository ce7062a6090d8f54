"""The report as a person meets it: in headless Chromium, offline, on a laptop and a phone, light and dark, by keyboard.

make browser
"""

from __future__ import annotations

import itertools
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions, Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from harness.report import read_policy, write_report

sys.path.append(str(Path(__file__).parents[1] / "unit"))
from test_report import INFO, results_in

ROOT = Path(__file__).parents[2]
LAPTOP, PHONE = (1366, 900), (390, 844)
CONTRAST = 4.5  # WCAG 2.2 AA for text

# The contrast of every visible piece of text with what is behind it: the worst one, and where.
WORST_CONTRAST = """
const part = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const lum = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
const canvas = document.createElement('canvas');
canvas.width = canvas.height = 1;
const pen = canvas.getContext('2d', { willReadFrequently: true });
const rgba = (text) => {
  pen.clearRect(0, 0, 1, 1);
  pen.fillStyle = text;
  pen.fillRect(0, 0, 1, 1);
  const d = pen.getImageData(0, 0, 1, 1).data;
  return [d[0], d[1], d[2], d[3] / 255];
};
const behind = (node) => {
  for (let n = node; n; n = n.parentElement) {
    const c = rgba(getComputedStyle(n).backgroundColor);
    if (c[3] > 0.99) return c.slice(0, 3);
  }
  return [255, 255, 255];
};
let worst = [99, ''];
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const node = walk.currentNode.parentElement, text = walk.currentNode.data.trim();
  if (!text || !node.checkVisibility() || node.closest('svg, script, style, .skip')) continue;
  const pair = [lum(rgba(getComputedStyle(node).color)), lum(behind(node))].sort((x, y) => y - x);
  const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
  if (ratio < worst[0]) worst = [ratio, `${node.tagName}.${node.className}: ${text.slice(0, 50)} (${ratio.toFixed(2)})`];
}
return worst;
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A report with a pass, a fail and an unknown."""
    run = tmp_path_factory.mktemp("report") / "r1"
    results = results_in(run)
    info = {
        **INFO,
        "dashboards": {
            "panels": [{"dashboard": "d", "panel": "p", "points": 3, "error": "", "ok": True}],
            "marked": 1,
            "error": "",
        },
    }
    return write_report(run, results, info, policy=read_policy(ROOT / "gate.toml")).as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    """Debian's Chromium without a screen."""
    driver, program = shutil.which("chromedriver"), shutil.which("chromium")
    if not driver or not program:
        pytest.skip("no chromium and chromium-driver: apt-get install them")
    options = ChromeOptions()
    options.binary_location = program
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-sync",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = Chrome(options=options, service=Service(driver))
    yield chrome
    chrome.quit()


def opened(browser: Chrome, page: str, size: tuple[int, int], scheme: str = "light") -> Chrome:
    """The page on a screen of that size, in that colour scheme, with all charts drawn."""
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    browser.get("about:blank")
    browser.get(f"{page}#all")
    return browser


def ask(browser: Chrome, script: str) -> Any:
    return browser.execute_script(script)  # type: ignore[no-untyped-call]


def test_every_chart_is_drawn_and_nothing_is_fetched_or_complained_about(browser: Chrome, page: str) -> None:
    opened(browser, page, LAPTOP)
    charts = len(browser.find_elements(By.CSS_SELECTOR, ".chart"))
    assert charts >= 3
    assert ask(browser, "return document.querySelectorAll('.chart .main-svg').length") >= charts
    assert ask(browser, "return performance.getEntriesByType('resource').map(e => e.name)") == []
    assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []  # type: ignore[no-untyped-call]


def test_the_first_screen_tells_the_verdict_the_figures_and_the_gate(browser: Chrome, page: str) -> None:
    opened(browser, page, LAPTOP)
    for wanted in ("h1", ".gate", ".card"):
        box = browser.find_element(By.CSS_SELECTOR, wanted).rect
        assert box["y"] + min(box["height"], 100) < LAPTOP[1], wanted
    assert "FAIL" in browser.find_element(By.TAG_NAME, "h1").text
    assert browser.title.startswith("FAIL")


@pytest.mark.parametrize("size", [LAPTOP, PHONE])
def test_nothing_is_wider_than_the_screen(browser: Chrome, page: str, size: tuple[int, int]) -> None:
    opened(browser, page, size)
    assert ask(browser, "return document.documentElement.scrollWidth") <= size[0]


@pytest.mark.parametrize("size", [LAPTOP, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read(browser: Chrome, page: str, size: tuple[int, int], scheme: str) -> None:
    opened(browser, page, size, scheme)
    ask(browser, "document.querySelectorAll('details').forEach(d => d.open = true)")
    ratio, where = ask(browser, WORST_CONTRAST)
    assert ratio >= CONTRAST, where


def test_the_colour_scheme_is_the_readers(browser: Chrome, page: str) -> None:
    paper = "return getComputedStyle(document.body).backgroundColor"
    light, dark = (ask(opened(browser, page, LAPTOP, s), paper) for s in ("light", "dark"))
    assert light != dark


def test_everything_is_reached_by_keyboard(browser: Chrome, page: str) -> None:
    opened(browser, page, LAPTOP)
    body = browser.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    assert "Skip" in browser.switch_to.active_element.text
    seen = set()
    for _ in range(200):
        focused = browser.switch_to.active_element
        focused.send_keys(Keys.TAB)
        seen.add(focused.tag_name)
        if browser.switch_to.active_element.tag_name == "body":
            break
    assert {"a", "summary", "div"} <= seen  # links, folds, and tables that scroll
    fold = browser.find_element(By.CSS_SELECTOR, "article details:not([open]) summary")
    fold.send_keys(Keys.ENTER)
    assert fold.find_element(By.XPATH, "..").get_attribute("open") is not None


def test_a_screen_reader_is_told_what_a_sighted_reader_sees(browser: Chrome, page: str) -> None:
    opened(browser, page, LAPTOP)
    for chart in browser.find_elements(By.CSS_SELECTOR, ".chart"):
        assert len(chart.get_attribute("aria-label") or "") > 20
    assert ask(browser, "return document.documentElement.lang") == "en"
    assert ask(browser, "return document.querySelectorAll('th:not([scope])').length") == 0
    levels = ask(browser, "return [...document.querySelectorAll('h1,h2,h3,h4')].map(e => +e.tagName[1])")
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
