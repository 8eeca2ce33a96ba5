"""The page of a comparison in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from qrecipe.report.page.compared import render_compared
from qrecipe.study.compared import tables_of
from tests.browser import MISSING, Page, browser
from tests.report.page.test_in_browser import CONTRAST, OVERFLOWING, SEEN, UNNAMED
from tests.study.test_compared import run

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Groups with long names, curves, and a table of other data."""
    runs = [
        run(name, 0.5 + bits / 100 + seed * bits / 1000, seed, bits)
        for name, bits in (("lsq+", 4), ("a name of a group that is as long as they get, 2-2-8", 2), ("real", 32))
        for seed in (0, 1, 2)
    ]
    curved = [replace(one, curve=((1, 0.4), (2, 0.5))) for one in runs]
    path = tmp_path_factory.mktemp("compared") / "page.html"
    path.write_text(render_compared(tables_of([*curved, run("elsewhere", 0.3, data=1)]), ["a note"]))
    return path


@SEEN
def test_it_can_be_read(page: Page, file: Path, width: int, dark: bool) -> None:
    page.open(file, width, dark=dark)
    assert page.run(OVERFLOWING) == []
    assert page.run(CONTRAST) == []
    assert page.run(UNNAMED) == []
    assert page.errors() == []
    assert page.run("return document.querySelectorAll('svg').length") == 4
