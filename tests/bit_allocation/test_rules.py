"""Choices of bits as rules of a recipe: loaded and planned again they are what was chosen."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qrecipe.bit_allocation import choices_of, rules_for, searched_recipe
from qrecipe.bit_allocation.program import Width
from qrecipe.recipe import load_recipe
from qrecipe.recipe.dump import dump
from qrecipe.student import make_plan
from tests.specimens import W4A4, Specimen, a_recipe

RULES = [
    {"match": "role:head", "keep": "float"},
    {"match": "op:add", "activation": {"bits": 8}},
    {"match": "role:backbone.stem", "weight": {"bits": 8}},
]


def planned(specimen: Specimen, wanted: dict[str, Width], folder: Path, *, extends: bool) -> dict[str, Width]:
    """The bits of every site under the recipe that is written for these."""
    recipe = a_recipe({**W4A4, "rules": RULES})
    base = folder / "base.yaml"
    base.write_text(dump(recipe.resolved), encoding="utf-8")
    recipe = load_recipe(base)
    plan = make_plan(specimen.original, recipe)
    rules = rules_for(specimen.original.structure(recipe.model.roles), recipe, plan, wanted)
    text = searched_recipe(recipe, rules, ["A comment."], base if extends else None, folder / "below")
    (folder / "below").mkdir(exist_ok=True)
    written = folder / "below" / "searched.yaml"
    written.write_text(text, encoding="utf-8")
    again = make_plan(specimen.original, load_recipe(written))
    return {name: None if site.spec is None else site.spec.bits for name, site in again.sites.items()}


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10_000), st.sampled_from(["role", "module"]), st.booleans())
def test_any_choice_can_be_said(
    demo: Specimen, tmp_path_factory: pytest.TempPathFactory, seed: int, by: str, extends: bool
) -> None:
    plan = make_plan(demo.original, a_recipe({**W4A4, "rules": RULES}))
    chance = random.Random(seed)
    choices = choices_of(plan, plan.quantizers, by)  # type: ignore[arg-type]
    widths: list[Width] = [8, 6, 4, None]
    wanted = {site: width for choice in choices for width in [chance.choice(widths)] for site in choice.sites}
    bits = planned(demo, wanted, tmp_path_factory.mktemp("rules"), extends=extends)
    unchanged = {name: None if site.spec is None else site.spec.bits for name, site in plan.sites.items()}
    assert bits == {**unchanged, **wanted}


def test_what_is_as_it_was_needs_no_rule(demo: Specimen) -> None:
    recipe = a_recipe({**W4A4, "rules": RULES})
    plan = make_plan(demo.original, recipe)
    structure = demo.original.structure(recipe.model.roles)
    same: dict[str, Width] = {name: site.spec.bits for name, site in plan.sites.items() if site.spec is not None}
    assert rules_for(structure, recipe, plan, same) == []


def test_one_width_for_a_role_is_one_rule(demo: Specimen) -> None:
    recipe = a_recipe({**W4A4, "rules": RULES})
    plan = make_plan(demo.original, recipe)
    role = "encoder.feed_forward"
    own = [name for name, site in plan.sites.items() if site.role == role and site.spec and site.operator != "add"]
    wanted: dict[str, Width] = dict.fromkeys(own, 6)
    (rule,) = rules_for(demo.original.structure(recipe.model.roles), recipe, plan, wanted)
    assert rule.to_dict() == {"match": f"role:{role}", "weight": {"bits": 6}, "activation": {"bits": 6}}


def test_what_is_chosen_as_one(demo: Specimen) -> None:
    plan = make_plan(demo.original, a_recipe(W4A4))
    choices = choices_of(plan, plan.quantizers)
    owner = {site: choice for choice in choices for site in choice.sites}
    for choice in choices:
        kinds = {plan.sites[site].kind for site in choice.sites}
        assert len(kinds) == 1
        for quantizer in choice.quantizers:
            assert all(owner[name] is choice for name, site in plan.sites.items() if site.quantizer == quantizer)
    attention = [site for site in plan.sites.values() if site.kind == "attention"]
    for one in attention:
        for other in attention:
            if one.module == other.module:
                assert owner[one.name] is owner[other.name]
    assert len(choices_of(plan, plan.quantizers, "role")) < len(choices)
    some = list(plan.quantizers)[:1]
    assert {name for choice in choices_of(plan, some) for name in choice.quantizers} >= set(some)
    assert choices_of(plan, []) == []
