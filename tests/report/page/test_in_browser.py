"""The page in a real browser: nothing fails, nothing overflows, and it can be read."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.browser import MISSING, Page, browser
from tests.tiny_commands import Finished

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)
AXE = Path(__file__).parents[3] / "node_modules" / "axe-core" / "axe.min.js"
"""``npm install --no-save axe-core`` puts it there."""
SEEN = pytest.mark.parametrize(
    ("width", "dark"), [(390, False), (390, True), (1440, False), (1440, True)], ids=["390", "390 dark", "1440", "dark"]
)

CONTRAST = """
const channel = value => { value /= 255; return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4; };
const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const ground = element => {
  for (let at = element; at; at = at.parentElement) {
    const colour = parse(getComputedStyle(at).backgroundColor);
    if (colour.length && (colour.length < 4 || colour[3] > 0)) return colour;
  }
  return [255, 255, 255];
};
const bad = [];
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
  if (!own || !element.getClientRects().length || ["SCRIPT", "STYLE", "title"].includes(element.tagName)) continue;
  const style = getComputedStyle(element), inside = element.closest("svg");
  const one = light(parse(inside ? style.fill : style.color)), two = light(ground(element));
  const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
  if (ratio < 4.5) bad.push(`${element.tagName} ${element.textContent.trim().slice(0, 30)} ${ratio.toFixed(2)}`);
}
return bad;
"""
OVERFLOWING = """
const wide = innerWidth + 0.5, bad = [];
for (const element of document.querySelectorAll("body *")) {
  if (element.closest(".scroll, pre, svg")) continue;
  const box = element.getBoundingClientRect();
  if (box.width && (box.right > wide || box.left < -0.5)) bad.push(`${element.tagName}.${element.className}`);
}
if (document.documentElement.scrollWidth > innerWidth) bad.push("the page");
return bad;
"""
UNNAMED = """
return [...document.querySelectorAll("button, a, svg[role=img], [role=region], input")]
  .filter(one => !(one.getAttribute("aria-label") || one.textContent.trim())).map(one => one.outerHTML.slice(0, 80));
"""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser() as found:
        yield found


@SEEN
def test_it_can_be_read(page: Page, finished: Finished, width: int, dark: bool) -> None:
    page.open(finished.folder / "report.html", width, dark=dark)
    assert page.run("return document.documentElement.dataset.theme") == ("dark" if dark else "light")
    page.run("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert page.run(OVERFLOWING) == []
    assert page.run(CONTRAST) == []
    assert page.run(UNNAMED) == []
    assert page.errors() == []


def test_the_toggle_turns_the_lights(page: Page, finished: Finished) -> None:
    page.open(finished.folder / "report.html", 1440)
    before = page.run("return getComputedStyle(document.body).backgroundColor")
    page.run("document.getElementById('theme').click()")
    assert page.run("return document.documentElement.dataset.theme") == "dark"
    assert page.run("return getComputedStyle(document.body).backgroundColor") != before


def test_keys_and_buttons_step_through_the_images(page: Page, finished: Finished) -> None:
    page.open(finished.folder / "report.html", 1440)
    shown = """
    const steps = [...document.querySelectorAll(".step")].filter(one => one.closest(".steps"));
    const seen = steps.map((one, number) => one.getClientRects().length ? number : -1).filter(one => one >= 0);
    return [seen, document.querySelector(".where").textContent];
    """
    assert page.run(shown) == [[0], "1 of 8"]
    page.run("document.querySelector('.stepper').scrollIntoView()")
    page.press("\ue014")  # arrow right
    assert page.run(shown) == [[1], "2 of 8"]
    page.press("\ue012")  # arrow left
    page.press("\ue012")
    assert page.run(shown) == [[7], "8 of 8"]
    page.run("document.querySelector('.on').click()")
    assert page.run(shown) == [[0], "1 of 8"]
    assert page.errors() == []


def test_the_documents_pictures_are_taken(finished: Finished, tmp_path: Path) -> None:
    script = runpy.run_path(str(Path(__file__).parents[3] / "docs" / "pictures" / "report.py"))
    for path in script["take"](finished.folder, tmp_path):
        with Image.open(path) as picture:
            assert min(picture.size) > 200
        assert path.stat().st_size < 150_000


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: npm install --no-save axe-core")
@SEEN
def test_axe_finds_nothing(page: Page, finished: Finished, width: int, dark: bool) -> None:
    page.open(finished.folder / "report.html", width, dark=dark)
    page.run(AXE.read_text(encoding="utf-8") + "; window.axe = axe;")
    page.run("window.found = null; axe.run().then(result => { window.found = result.violations; })")
    for _ in range(100):
        found = page.run("return window.found && window.found.map(one => [one.id, one.nodes[0].html.slice(0, 120)])")
        if found is not None:
            break
    assert found == []
