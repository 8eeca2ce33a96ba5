"""Takes the pictures of a run's page that the documents show, with chromium and its driver.

python docs/pictures/report.py RUN [FOLDER]
"""

from __future__ import annotations

import base64
import io
import sys
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))  # the tests' driver of a browser

from tests.browser import Page, browser

HERE = Path(__file__).parent
COLOURS, GAP = 160, 16
DESKTOP, PHONE = 1152, 390


def shot(page: Page, first: str, last: str, tallest: int) -> Image.Image:
    """What lies between the top of one element and the bottom of another, but no more than so many pixels."""
    script = """
    const [first, last] = [...arguments].map(one => document.querySelector(one).getBoundingClientRect());
    return [first.top + scrollY, last.bottom + scrollY];
    """
    top, bottom = page.run(script, first, last)
    width = page.run("return innerWidth")
    clip = {"x": 0, "y": max(top - GAP, 0), "width": width, "height": min(bottom - top + GAP + 10, tallest), "scale": 1}
    found = page.devtools("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
    return Image.open(io.BytesIO(base64.b64decode(found["data"]))).convert("RGB")


def beside(pictures: list[Image.Image]) -> Image.Image:
    sheet = Image.new(
        "RGB",
        (sum(one.width for one in pictures) + GAP * (len(pictures) - 1), max(one.height for one in pictures)),
        "white",
    )
    left = 0
    for one in pictures:
        sheet.paste(one, (left, 0))
        left += one.width + GAP
    return sheet


def take(run: Path, folder: Path = HERE) -> list[Path]:
    """Four pictures of ``report.html``, as PNG files of few colours."""
    file, made = run / "report.html", {}
    with browser() as page:
        page.open(file, DESKTOP)
        made["strip"] = shot(page, "h1", "[id$=-network] ~ .strip", 700)
        made["detections"] = shot(page, "[id$=-detections]", ".stepper", 700)
        page.open(file, DESKTOP, dark=True)
        made["noise"] = shot(page, "[id$=-noise]", "section[aria-labelledby$=-noise]", 660)
        phone = []
        page.open(file, PHONE)
        phone.append(shot(page, "h1", "main", 900))
        phone.append(shot(page, "[id$=-detections]", "main", 900))
        page.open(file, PHONE, dark=True)
        phone.append(shot(page, "[id$=-queries]", "main", 900))
        made["phone"] = beside(phone)
    paths = []
    for name, picture in made.items():
        paths.append(folder / f"report_{name}.png")
        picture.quantize(COLOURS, dither=Image.Dither.NONE).save(paths[-1], optimize=True)
    return paths


if __name__ == "__main__":
    for path in take(*map(Path, sys.argv[1:])):
        print(path, path.stat().st_size)
