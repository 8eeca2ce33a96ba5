"""Charts hold what they are given, between round numbers."""

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as some

from qrecipe.report.page.svg import HEIGHT, WIDTH, Line, line_chart, ticks

finite = some.floats(-1e6, 1e6, allow_nan=False)


@given(finite, some.floats(1e-6, 1e6))
def test_ticks_are_few_round_and_within(low: float, span: float) -> None:
    found = ticks(low, low + span)
    assert 1 <= len(found) <= 6
    assert all(low - span * 1e-6 <= one <= low + span * (1 + 1e-6) for one in found)


@given(some.lists(some.tuples(some.floats(0, 300), finite), min_size=1, max_size=20))
def test_every_point_is_within_the_drawing(points: list[tuple[float, float]]) -> None:
    chart = ElementTree.fromstring(line_chart("AP", "epoch", [Line("student", points, 2)]))
    (drawn,) = chart.iter("polyline")
    found = [tuple(map(float, one.split(","))) for one in drawn.attrib["points"].split()]
    assert len(found) == len(points)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in found)
    order = sorted(range(len(points)), key=lambda at: points[at][1])
    heights = [found[at][1] for at in order]
    assert heights == sorted(heights, reverse=True)


def test_a_chart_of_nothing_is_no_chart() -> None:
    assert line_chart("AP", "epoch", [Line("student", [], 0)]) == ""


def test_names_of_the_user_are_text() -> None:
    chart = line_chart('a"><script>', "epoch", [Line("<b>&", [(1, 1)], 0)])
    assert "<script" not in chart
    assert "<b>" not in chart
    assert "&lt;b&gt;&amp;" in ElementTree.tostring(ElementTree.fromstring(chart)).decode()
