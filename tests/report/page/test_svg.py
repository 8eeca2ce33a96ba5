"""Charts hold what they are given, between round numbers."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as some

from qrecipe.report.page.svg import HEIGHT, WIDTH, Line, Plane, histogram, line_chart, ticks

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
    assert histogram("queries", "value", [0.0, 1.0], []) == ""


def test_histograms_are_shares_over_the_same_bins() -> None:
    chart = histogram("queries", "value", [0.0, 1.0, 2.0], [("few", [1, 3]), ("many", [100, 300])])
    lines = re.findall(r'points="([^"]*)"', chart)
    assert lines[0] == lines[1]  # 100 times as many, the same shares
    plane = Plane((0.0, 2.0), (0.0, 0.75))
    assert lines[0].split()[2] == f"{plane.x(1.0):.1f},{plane.y(0.75):.1f}"


def test_names_of_the_user_are_text() -> None:
    chart = line_chart('a"><script>', "epoch", [Line("<b>&", [(1, 1)], 0)])
    assert "<script" not in chart
    assert "<b>" not in chart
    assert "&lt;b&gt;&amp;" in ElementTree.tostring(ElementTree.fromstring(chart)).decode()
