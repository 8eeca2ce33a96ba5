"""Quantizers that a search chooses site by site, over what the recipe says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from qrecipe.errors import PlanError
from qrecipe.planning import CHOSEN, Plan, build_plan, cost_of
from qrecipe.recipe.definition import QuantizerSpec
from qrecipe.structure import Structure, analyse
from tests.specimens import ALIGN, TARGETS, W4A4, Specimen, a_recipe

RECIPE = a_recipe({**W4A4, "rules": [{"match": "role:backbone.stem", "keep": "float"}]}, align=ALIGN, targets=TARGETS)
KEY, VALUE = (f"layers.1.cross_attention.{name}_proj.input" for name in "kv")


@pytest.fixture(scope="module")
def structure(toy: Specimen) -> Structure:
    return analyse(toy.captured)


def planned(structure: Structure, **specs: Any) -> Plan:
    return build_plan(structure, RECIPE, (16, 24), **specs)


def test_what_is_chosen_is_as_chosen_and_the_rest_as_before(structure: Structure) -> None:
    before = planned(structure)
    wider = replace(before.sites["class_head.weight"].spec, bits=8)  # type: ignore[type-var]
    plan = planned(structure, specs={"class_head.weight": wider, "box_head.weight": None})
    assert (plan.bits("class_head.weight"), plan.bits("box_head.weight")) == (8, 32)
    assert plan.sites["box_head.weight"].quantizer is None
    assert plan.chosen == {"class_head.weight": wider, "box_head.weight": None}
    others = [name for name in before.sites if name not in plan.chosen]
    assert all(plan.sites[name] == before.sites[name] for name in others)
    assert (plan.alignments, plan.taps, plan.warnings) == (before.alignments, before.taps, before.warnings)
    assert sum(sum(one.decided.values()) for one in plan.decisions) == len(plan.sites)
    assert plan.decisions[-1].reason == CHOSEN
    assert before.chosen == {}
    assert cost_of(plan).bytes != cost_of(before).bytes


def test_readers_of_one_tensor_share_where_the_same_is_chosen(structure: Structure) -> None:
    before = planned(structure)
    six = replace(before.sites[KEY].spec, bits=6)  # type: ignore[type-var]
    alone, both = (planned(structure, specs=dict.fromkeys(names, six)) for names in ([KEY], [KEY, VALUE]))
    assert before.sites[KEY].quantizer == before.sites[VALUE].quantizer
    assert alone.sites[KEY].quantizer != alone.sites[VALUE].quantizer
    assert both.sites[KEY].quantizer == both.sites[VALUE].quantizer == KEY


def test_the_same_again_is_the_same_plan(structure: Structure) -> None:
    assert planned(structure) == planned(structure)
    assert planned(structure).operations is planned(structure).operations  # counted once for a size


def test_sites_that_are_none_and_scales_that_cannot_be(structure: Structure) -> None:
    spec = QuantizerSpec(4, "lsq", "channel")
    with pytest.raises(PlanError) as caught:
        planned(structure, specs={"class_head.wieght": spec, KEY: spec})
    first, second = sorted(str(caught.value).split("\n"))
    assert "class_head.wieght'" in second
    assert "the closest are class_head.weight" in second
    assert first == f"{KEY}, an operand of kind activation, cannot have scales per channel"
