"""Which quantizer each operand gets: defaults, then rules in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qrecipe.errors import PlanError
from qrecipe.planning import Plan
from qrecipe.planning.rules import pattern_matches
from qrecipe.recipe import Recipe, load_recipe
from qrecipe.structure import Address
from tests.specimens import W4A4, Specimen, a_recipe
from tests.toys import plan_of

QUERY = "layers.1.cross_attention.attention.query"


def planned(specimen: Specimen, recipe: Recipe) -> Plan:
    return plan_of(specimen.captured, recipe, (16, 24), recipe.model.roles)


def with_rules(specimen: Specimen, *rules: dict[str, Any], **defaults: Any) -> Plan:
    return planned(specimen, a_recipe({**(defaults or W4A4), "rules": list(rules)}))


def bits(plan: Plan, *sites: str) -> list[int]:
    return [plan.bits(site) for site in sites]


def test_defaults_by_operand(toy: Specimen) -> None:
    plan = with_rules(toy)
    assert bits(plan, "backbone.0.weight", "backbone.0.input", QUERY) == [4, 4, 8]
    assert plan.sites["backbone.0.weight"].reason == "quantize.weight"
    assert plan.sites[QUERY].reason == "quantize.attention"
    assert {site.kind for site in plan.sites.values()} == {"weight", "activation", "attention"}


def test_an_operand_without_a_default_stays_real(toy: Specimen) -> None:
    plan = with_rules(toy, weight=W4A4["weight"])
    quantized = {site.name for site in plan.sites.values() if site.quantizer}
    assert quantized == {site.name for site in plan.sites.values() if site.kind == "weight"}
    assert plan.sites[QUERY].reason == "no quantize.attention"
    assert plan.sites[QUERY].spec is None


def test_the_last_rule_wins(toy: Specimen) -> None:
    plan = with_rules(
        toy,
        {"match": "role:backbone", "keep": "float"},
        {"match": "backbone.0", "weight": {"bits": 8}},
        {"match": "role:backbone.stem", "weight": {"bits": 6}},
        {"match": "re:^backbone", "activation": {"bits": 7}},
    )
    assert bits(plan, "backbone.0.weight", "backbone.0.input") == [6, 7]
    assert bits(plan, "backbone.3.weight", "backbone.3.input") == [32, 7]
    assert plan.sites["backbone.0.weight"].reason == "quantize.rules[2]: role:backbone.stem"
    assert plan.sites["backbone.3.weight"].reason == "quantize.rules[0]: role:backbone"
    # What a rule does not name it leaves as the default has it.
    assert plan.sites["backbone.0.weight"].spec.per == "channel"


def test_rules_add_up_where_they_set_different_keys(toy: Specimen) -> None:
    plan = with_rules(
        toy,
        {"match": "backbone.0", "weight": {"bits": 6}},
        {"match": "role:backbone", "weight": {"quantizer": "mse"}},
        {"match": "backbone.3", "weight": "float"},
        {"match": "op:conv", "weight": {"per": "tensor"}},
    )
    first, last = (plan.sites[f"backbone.{index}.weight"].spec for index in (0, 3))
    assert (first.bits, first.quantizer, first.per) == (6, "mse", "tensor")
    # What was made real starts again from the default.
    assert (last.bits, last.quantizer, last.per) == (4, "lsq", "tensor")


def test_operands_are_set_one_by_one(toy: Specimen) -> None:
    plan = with_rules(
        toy,
        {"match": "layers.0", "weight": "float", "attention": {"bits": 5}},
        {"match": "class_head", "activation": "float"},
    )
    assert bits(plan, "layers.0.cross_attention.q_proj.weight", "layers.0.cross_attention.q_proj.input") == [32, 4]
    assert bits(plan, "layers.0.cross_attention.attention.key", "layers.1.cross_attention.attention.key") == [5, 8]
    assert bits(plan, "class_head.weight", "class_head.input", "class_head@1.input") == [4, 32, 32]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("layers.0.cross_attention.q_proj", True),
        ("layers.0", True),
        ("layers.*", True),
        ("*.q_proj", True),
        ("layers", True),
        ("layers.?.cross_attention", True),
        ("cross_attention", False),
        ("layers.1", False),
        ("layers.0.cross", False),
        ("re:cross_attention", True),
        (r"re:^layers\.[01]\.", True),
        ("re:^cross", False),
        ("op:linear", True),
        ("op:lin*", True),
        ("op:conv", False),
        ("role:decoder", True),
        ("role:decoder.cross_attention", True),
        ("role:*.cross_attention", True),
        ("role:cross_attention", False),
    ],
)
def test_patterns(pattern: str, expected: bool) -> None:
    address = Address("layers.0.cross_attention.q_proj", "linear", "decoder.cross_attention")
    found = pattern_matches(pattern, address)
    assert found is expected


def test_all_patterns_of_a_rule_must_match(toy: Specimen) -> None:
    plan = with_rules(toy, {"match": ["role:decoder", "op:linear", "re:[qk]_proj"], "keep": "float"})
    real = {
        site.module.rpartition(".")[2] for site in plan.sites.values() if site.operator == "linear" and not site.spec
    }
    assert real == {"q_proj", "k_proj"}
    assert bits(plan, QUERY) == [8]


def test_a_rule_that_matches_nothing_is_named_with_its_place_and_what_is_near(toy: Specimen, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "version: 1\n"
        "model: {architecture: demo}\n"
        "quantize:\n"
        "  weight: {bits: 4, quantizer: lsq, per: channel}\n"
        "  rules:\n"
        "    - {match: 'role:head.klass', keep: float}\n"
        "    - {match: 'role:backbone', keep: float}\n"
        "    - {match: 'layers.0.cross_atention', keep: float}\n"
    )
    with pytest.raises(PlanError) as caught:
        planned(toy, load_recipe(file))
    first, second = str(caught.value).split("\n")
    assert f"{file}:6:15: quantize.rules[0].match: 'role:head.klass' matches nothing in the model" in first
    assert "role:head.class" in first
    assert f"{file}:8:15: quantize.rules[2]" in second
    assert "layers.*.cross_attention" in second


def test_additions_and_concatenations_only_by_operator(toy: Specimen, demo: Specimen) -> None:
    plan = with_rules(toy, {"match": "layers.0", "activation": {"bits": 6}})
    assert bits(plan, "layers.0.add.left", "layers.0.add.right") == [32, 32]
    assert "unless a rule names op:add" in plan.sites["layers.0.add.left"].reason
    plan = with_rules(toy, {"match": "op:add", "activation": {"bits": 6}})
    assert bits(plan, "layers.0.add.left", "layers.1.add.right", "layers.0.cross_attention.q_proj.input") == [6, 6, 4]
    plan = planned(demo, a_recipe({**W4A4, "rules": [{"match": "op:cat", "activation": {"bits": 8}}]}))
    assert bits(plan, "cat.input0", "cat@1.input1", "decoder.0.add.left") == [8, 8, 32]


@pytest.mark.parametrize(("operator", "least"), [("silu", 11), ("avg_pool", 2)])
def test_what_reads_one_value_only_by_operator(deimv2: Specimen, operator: str, least: int) -> None:
    sites = planned(deimv2, a_recipe(W4A4)).sites.values()
    found = [site for site in sites if site.operator == operator and site.spec is None]
    assert len(found) >= least
    assert all(site.name.endswith(f"{operator}.input") and f"op:{operator}" in site.reason for site in found)
    plan = planned(deimv2, a_recipe({**W4A4, "rules": [{"match": f"op:{operator}", "activation": {"bits": 8}}]}))
    assert {site.spec.bits for site in plan.sites.values() if site.operator == operator and site.spec} == {8}
    assert sum(site.quantizer is not None for site in plan.sites.values() if site.operator == operator) == len(found)


def test_another_quantizer_brings_its_own_offset(toy: Specimen) -> None:
    plan = with_rules(
        toy,
        {"match": "class_head", "activation": {"quantizer": "lsq"}},
        {"match": "box_head", "activation": {"quantizer": "mse"}, "weight": {"quantizer": "minmax"}},
        {"match": "backbone", "activation": {"offset": "real"}},
    )
    assert plan.sites["class_head.input"].spec.offset == "none"
    assert plan.sites["box_head.input"].spec.offset == "integer"
    assert plan.sites["box_head.weight"].spec.offset == "none"
    assert plan.sites["backbone.0.input"].spec.offset == "real"
    assert plan.sites["backbone.0.input"].spec.quantizer == "lsq+"


def test_a_rule_may_quantize_what_has_no_default(toy: Specimen) -> None:
    rule = {"match": "role:backbone", "weight": {"bits": 3, "quantizer": "lsq"}}
    plan = with_rules(toy, rule, attention=W4A4["attention"])
    spec = plan.sites["backbone.0.weight"].spec
    assert (spec.bits, spec.per, spec.offset) == (3, "channel", "none")
    assert bits(plan, "class_head.weight") == [32]


def test_such_a_rule_must_say_bits_and_quantizer(toy: Specimen) -> None:
    with pytest.raises(PlanError, match=r"quantize.rules\[0\].*backbone.0.weight.*no default, without quantizer"):
        with_rules(toy, {"match": "role:backbone", "weight": {"bits": 3}}, attention=W4A4["attention"])


def test_a_regular_expression_that_is_none_is_refused(toy: Specimen) -> None:
    with pytest.raises(PlanError, match=r"quantize.rules\[0\].match: 're:\[a' is no regular expression: unterminated"):
        with_rules(toy, {"match": "re:[a", "keep": "float"})


def test_operators_are_among_what_is_near(toy: Specimen) -> None:
    with pytest.raises(PlanError, match="the closest are op:conv"):
        with_rules(toy, {"match": "op:conf", "keep": "float"})


@pytest.mark.parametrize(
    ("defaults", "rule", "message"),
    [
        ({}, {"weight": {"offset": "real"}}, r"backbone.0.weight lsq with offset: real, .*lsq has none"),
        ({"quantizer": "pact"}, {"activation": {"offset": "none"}}, r"pact with offset: none.* has integer"),
        ({"quantizer": "pact"}, {"activation": {"scale": "power_of_two"}}, r"pact with scale: power_of_two"),
    ],
)
def test_rules_and_defaults_that_contradict_each_other(
    toy: Specimen, defaults: dict[str, Any], rule: dict[str, Any], message: str
) -> None:
    quantize = {**W4A4, **({"activation": {"bits": 4, "per": "tensor", **defaults}} if defaults else {})}
    recipe = a_recipe({**quantize, "rules": [{"match": "role:backbone", **rule}]})
    with pytest.raises(PlanError, match=message):
        planned(toy, recipe)
