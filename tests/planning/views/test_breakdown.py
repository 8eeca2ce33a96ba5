"""Rows by role and by module against plain loops over the sites, and what stays real-valued."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from qrecipe.planning import (
    Part,
    Plan,
    by_module,
    by_role,
    collapse,
    cost_of,
    describe,
    real_macs,
    unquantized,
    whole,
)
from qrecipe.planning.views.collapse import at_depth, ranges
from qrecipe.structure.operands import PASSIVE
from tests.specimens import ALIGN, TARGETS, W4A4, Specimen, a_recipe
from tests.toys import plan_of

RULES = [
    {"match": "role:backbone.stem", "keep": "float"},
    {"match": "role:decoder", "weight": {"bits": 3}},
    {"match": "op:add", "activation": {"bits": 6}},
]


def planned(specimen: Specimen, **parts: Any) -> Plan:
    recipe = a_recipe({**W4A4, "rules": RULES}, **parts)
    return plan_of(specimen.captured, recipe, (64, 96), recipe.model.roles)


def slow_totals(plan: Plan) -> dict[str, float]:
    """Everything again, site by site."""
    bits = {site.name: site.spec.bits if site.spec else 32 for site in plan.sites.values()}
    total = {"macs": 0, "operations": 0.0, "bit_operations": 0, "parameters": 0, "bytes": 0}
    for operation in plan.operations:
        for product in operation.products:
            left, right = bits[product.left], bits[product.right]
            total["macs"] += product.macs
            total["operations"] += product.macs * max(left, right) / 32
            total["bit_operations"] += product.macs * left * right
    for name, count in plan.parameters.items():
        total["parameters"] += count
        total["bytes"] += math.ceil(count * bits.get(name, 32) / 8)
    seen = set()
    for site in plan.sites.values():
        if site.quantizer is not None and site.quantizer not in seen:
            assert site.spec is not None
            seen.add(site.quantizer)
            total["bytes"] += 4 * site.size * (1 if site.spec.offset == "none" else 2)
    return total


def test_the_whole_is_the_sum_over_the_sites(specimen: Specimen) -> None:
    plan = planned(specimen)
    row = whole(plan)
    assert row.cost == cost_of(plan)
    assert {key: row.cost.to_dict()[key] for key in slow_totals(plan)} == pytest.approx(slow_totals(plan))
    counted = [site for site in plan.sites.values() if site.operator not in PASSIVE or site.spec]
    assert (row.sites, row.quantized) == (len(counted), sum(site.quantizer is not None for site in counted))
    assert any(site.operator == "add" for site in counted)


@pytest.mark.parametrize("by", ["role", "depth 1", "depth 2", "depth 9"])
def test_rows_add_up(specimen: Specimen, by: str) -> None:
    plan = planned(specimen)
    rows = by_role(plan) if by == "role" else by_module(plan, int(by.split()[1]))
    assert sum((row.cost for row in rows[1:]), rows[0].cost).to_dict() == pytest.approx(whole(plan).cost.to_dict())
    assert sum(row.sites for row in rows) == whole(plan).sites
    assert sum(row.quantized for row in rows) == whole(plan).quantized
    assert len({row.name for row in rows}) == len(rows)


def test_a_role_s_row(toy: Specimen) -> None:
    plan = planned(toy)
    rows = {row.name: row for row in by_role(plan)}
    row = rows["decoder.cross_attention"]
    assert row.bits == {"weight": (3,), "activation": (4,), "attention": (8,)}
    assert row.cost.parameters == 2 * 4 * (8 * 8 + 8)  # biases belong to their layers
    assert rows["(norms, embeddings)"].cost.parameters == 2 * 2 * 8 + 4 * 8 + 2 * 8  # LayerNorms, queries, BatchNorm
    assert rows["backbone.stem"].quantized == 0


def test_repeated_modules_are_one_row(toy: Specimen) -> None:
    rows = {row.name: row for row in by_module(planned(toy), 2)}
    assert rows["layers.0-1.cross_attention"].count == 2
    assert {"backbone.0", "backbone.3", "class_head", "box_head"} <= set(rows)
    first: Part = {row.name: row for row in by_module(planned(toy), 1)}["layers.0-1"]
    assert first.cost.macs == rows["layers.0-1.cross_attention"].cost.macs


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["a.0", "a.1", "a.2", "a.4"], ["a.0-2,4"]),
        (["a.0.x", "a.0.y", "a.1.x", "a.1.y"], ["a.0-1.x", "a.0-1.y"]),
        (["a.0.f.0", "a.0.f.1", "a.1.f.0", "a.1.f.1"], ["a.0-1.f.0-1"]),
        (["a.0.f.0", "a.0.f.1", "a.1.f.0"], ["a.0.f.0-1", "a.1.f.0"]),
        (["", "a", "b"], ["", "a", "b"]),
    ],
)
def test_collapse(names: list[str], labels: list[str]) -> None:
    groups = collapse(dict.fromkeys(names, 0))
    assert [group.label for group in groups] == labels
    assert sorted(name for group in groups for name in group.members) == sorted(names)


def test_what_is_not_alike_is_not_joined() -> None:
    groups = collapse({"a.0": 1, "a.1": 2, "a.2": 1})
    assert [group.label for group in groups] == ["a.0,2", "a.1"]
    assert ranges([3, 1, 2, 7]) == "1-3,7"


@pytest.mark.parametrize(
    ("depth", "expected"),
    [(1, "model"), (2, "model.layers.0"), (3, "model.layers.0.fc.1"), (9, "model.layers.0.fc.1.x")],
)
def test_numbers_are_no_level(depth: int, expected: str) -> None:
    assert at_depth("model.layers.0.fc.1.x", depth) == expected


def test_what_stays_real_valued(specimen: Specimen) -> None:
    plan = planned(specimen)
    listed = unquantized(plan)
    real = [site for site in plan.sites.values() if site.spec is None]
    assert sum(sum(one.operators.values()) for one in listed) == len(real)
    stem = next(one for one in listed if one.reason == "quantize.rules[0]: role:backbone.stem")
    assert (stem.role, stem.operators) == ("backbone.stem", {"conv": 2})
    assert stem.macs == next(row for row in by_role(plan) if row.name == "backbone.stem").cost.macs == real_macs(plan)
    assert plan.unsupported["layer_norm"] > 0


def test_without_any_default_all_is_real(toy: Specimen) -> None:
    plan = plan_of(toy.captured, a_recipe(), (16, 24))
    assert {one.reason for one in unquantized(plan)} >= {"no quantize.weight", "no quantize.activation"}
    assert real_macs(plan) == cost_of(plan).macs


def test_the_json_agrees_with_the_rows(specimen: Specimen) -> None:
    plan = planned(specimen, align=ALIGN, targets=TARGETS)
    data = json.loads(json.dumps(describe(plan)))
    assert set(data) == {
        "image_size", "batch_norm", "backbone", "totals", "by_role", "by_module", "by_rule", "real_valued",
        "unsupported", "warnings", "notes", "alignments", "corrections", "equalized", "smoothed", "taps",
        "sites", "operations", "parameters",
    }  # fmt: skip
    for key in ("parameters", "bytes", "float_bytes", "macs", "operations", "bit_operations", "share"):
        for rows in (data["by_role"], data["by_module"]):
            assert sum(row[key] for row in rows) == pytest.approx(1 if key == "share" else data["totals"][key])
    assert sum(data["parameters"].values()) == data["totals"]["parameters"]
    decided = sum(sum(rule["decided"].values()) for rule in data["by_rule"])
    assert decided == len(data["sites"]) == len(plan.sites)
    assert data["totals"]["quantizers"] == len({site["quantizer"] for site in data["sites"]} - {None})
    assert data["sites"][0]["spec"] is None
    assert len(data["taps"]) == len(plan.taps)
