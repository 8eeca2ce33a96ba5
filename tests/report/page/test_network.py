"""The picture of a plan against the plan itself."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from qrecipe.report.page.network import STRIP, network_of
from qrecipe.run.files import read_json
from tests.tiny_commands import Finished


def test_shares_and_bits_are_the_plans(finished: Finished) -> None:
    plan = read_json(Path(finished.folder) / "plan.json")
    found = network_of(plan)
    assert sum(one.share for one in found.stretches) == pytest.approx(1.0)
    shares = {one["role"]: one["share"] for one in plan["by_role"] if one["macs"]}
    assert {one.role: pytest.approx(one.share) for one in found.stretches} == shares
    assert found.bits == (32, 8, 4)
    bits = {one.role: one.bits for one in found.stretches}
    assert bits["backbone.stem"] == "real"
    assert bits["decoder.cross_attention"] == "4-4-8"


def test_the_strip_is_full_and_in_order(finished: Finished) -> None:
    plan = read_json(Path(finished.folder) / "plan.json")
    strip = network_of(plan).whole
    places = [
        (float(x), float(width)) for x, width in re.findall(r'class="b\d+" x="([\d.]+)" y="0" width="([\d.]+)', strip)
    ]
    multiplied = [one for one in plan["operations"] if sum(product["macs"] for product in one["products"])]
    assert len(places) == len(multiplied)
    for (x, width), (following, _) in pairwise(places):
        assert x + width == pytest.approx(following, abs=0.05)
    assert sum(places[-1]) == pytest.approx(STRIP, abs=0.1)
    names = re.findall(r"<title>(\S+) ", strip)
    assert names == [one["name"] for one in multiplied]
    costliest = max(multiplied, key=lambda one: sum(product["macs"] for product in one["products"]))
    assert names[max(range(len(places)), key=lambda at: places[at][1])] == costliest["name"]
