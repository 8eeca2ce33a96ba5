"""Which rule decides how many operands, what is said in vain, and all that does not fit at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qrecipe.errors import PlanError, PlanErrors, RecipeErrors
from qrecipe.planning import Decision, Plan
from qrecipe.recipe import load_recipe
from qrecipe.recipe.definition import Spot
from tests.specimens import ALIGN, W4A4, Specimen, a_recipe
from tests.toys import plan_of


def with_rules(specimen: Specimen, *rules: dict[str, Any], align: Any = (), **defaults: Any) -> Plan:
    recipe = a_recipe({**(defaults or W4A4), "rules": list(rules)}, align=align)
    return plan_of(specimen.captured, recipe, (16, 24))


def decision(plan: Plan, start: str) -> Decision:
    (found,) = [one for one in plan.decisions if one.reason.startswith(start)]
    return found


def test_defaults_and_rules_are_counted(toy: Specimen) -> None:
    plan = with_rules(toy, {"match": "role:backbone.stem", "keep": "float"}, {"match": "class_head", "weight": "float"})
    stem = decision(plan, "quantize.rules[0]")
    assert stem.matched == stem.decided == {"weight": 1, "activation": 1}
    assert decision(plan, "quantize.rules[1]").decided == {"weight": 1}
    weights = [site for site in plan.sites.values() if site.kind == "weight"]
    assert decision(plan, "quantize.weight").matched == {"weight": len(weights)}
    assert decision(plan, "quantize.weight").decided == {"weight": len(weights) - 2}
    assert sum(decision(plan, "additions").decided.values()) == 4
    assert plan.warnings == ()


def test_a_shadowed_rule_decides_nothing_and_is_a_warning(toy: Specimen) -> None:
    plan = with_rules(
        toy, {"match": "role:backbone.stem", "keep": "float"}, {"match": "role:backbone", "keep": "float"}
    )
    assert decision(plan, "quantize.rules[0]").decided == {"weight": 0, "activation": 0}
    (warning,) = plan.warnings
    assert warning == (
        "quantize.rules[0]: 'role:backbone.stem' decides nothing: wherever it applies, later rules set the same again: "
        "rules[1]"
    )


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        # Bits of the first stay where the second sets the quantizer alone.
        ({"weight": {"bits": 6}}, {"weight": {"quantizer": "mse"}}, []),
        (
            {"weight": {"bits": 6}},
            {"weight": {"bits": 3, "quantizer": "mse"}},
            ["rules[0]: 'backbone' decides nothing"],
        ),
        ({"weight": {"bits": 6}}, {"weight": "float"}, ["rules[0]: 'backbone' decides nothing"]),
        ({"weight": "float"}, {"weight": {"bits": 6}}, ["rules[0]: 'backbone' decides nothing"]),
        # One kind of two is set again: the part that is in vain is named.
        (
            {"weight": {"bits": 6}, "activation": {"bits": 6}},
            {"weight": {"bits": 3}},
            ["rules[0].weight: decides nothing"],
        ),
        # An exception from a rule that keeps all real is what rules are for.
        ({"keep": "float"}, {"activation": {"bits": 6}}, []),
        # A value that would hold anyway is no fault.
        ({"weight": {"bits": 4}}, {"activation": {"bits": 4}}, []),
    ],
)
def test_what_is_left_of_a_rule(
    toy: Specimen, first: dict[str, Any], second: dict[str, Any], expected: list[str]
) -> None:
    plan = with_rules(toy, {"match": "backbone", **first}, {"match": "role:backbone", **second})
    assert len(plan.warnings) == len(expected)
    for warning, text in zip(plan.warnings, expected, strict=True):
        assert text in warning


def test_a_rule_that_decides_in_part(toy: Specimen) -> None:
    plan = with_rules(
        toy, {"match": "backbone", "weight": {"bits": 6}}, {"match": "role:backbone", "weight": {"quantizer": "mse"}}
    )
    first = decision(plan, "quantize.rules[0]")
    assert (first.matched, first.decided, first.in_part) == ({"weight": 2}, {"weight": 0}, {"weight": 2})


def test_a_rule_that_sets_nothing(toy: Specimen) -> None:
    plan = with_rules(toy, {"match": "role:backbone", "attention": {"bits": 4}})
    (warning,) = plan.warnings
    assert "quantize.rules[0]: 'role:backbone' sets nothing: what it matches has no attention operand" in warning


def test_alignment_of_a_real_valued_query(toy: Specimen, deimv2: Specimen) -> None:
    align = [{**ALIGN[0], "blend": "learned"}]  # of which nothing else is said
    assert with_rules(toy, align=align).warnings == ()
    every = with_rules(toy, align=align, weight=W4A4["weight"]).warnings
    assert [text.partition(": ")[2] for text in every] == [
        "the query that is aligned stays real-valued in decoder layers 0, 1, so that there is nothing to rectify"
    ]
    (one,) = with_rules(toy, {"match": "layers.1", "attention": "float"}, align=align).warnings
    assert "stays real-valued in decoder layer 1, so" in one
    # Deformable attention reads its query through linear layers.
    assert with_rules(deimv2, align=align).warnings == ()
    (real,) = with_rules(deimv2, align=align, attention=W4A4["attention"]).warnings
    assert "stays real-valued in decoder layers 0, 1" in real


def test_alignment_that_leaves_little_of_a_query(demo: Specimen, deimv2: Specimen) -> None:
    (few,) = with_rules(demo, align=ALIGN).warnings
    assert few.partition("distill.align[0].at: ")[2] == (
        "alignment cannot be expected to help in decoder layers 0, 1, where a head has 8 channels, of which "
        "standardising takes two degrees of freedom: set blend: learned, or leave align out"
    )
    assert with_rules(demo, align=[{**ALIGN[0], "per": "query"}]).warnings == ()  # 32 channels
    (state,) = with_rules(deimv2, align=[{**ALIGN[0], "per": "query"}]).warnings
    assert "where the query of the deformable attention is the decoder's own state, not a projection" in state
    (both,) = with_rules(deimv2, align=ALIGN).warnings
    assert "degrees of freedom and the query of the deformable" in both


WRONG = """\
version: 1
model: {architecture: demo, roles: {}}
quantize:
  weight: {bits: 4, quantizer: lsq, per: channel}
  rules:
    - {match: 'role:backbone.steam', keep: float}
    - {match: [class_head, 'op:konv'], keep: float}
    - {match: [class_head, 'op:conv'], keep: float}
    - {match: 'layers.0.cross_atention', keep: float}
    - {match: class_head, activation: {bits: 4}}
train:
  stages: [{name: only, epochs: 1, quantize: [backbon, decoder]}]
"""


def test_all_that_does_not_fit_at_once(toy: Specimen, tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(WRONG)
    with pytest.raises(PlanErrors) as caught:
        plan_of(toy.captured, load_recipe(file), (16, 24))
    assert isinstance(caught.value, PlanError)
    assert isinstance(caught.value, RecipeErrors)  # as the command line takes them apart
    places, texts = [], []
    for problem in caught.value.problems:
        assert isinstance(problem.where, Spot)
        assert problem.where.mark is not None
        places.append((problem.where.mark.line, problem.where.mark.column))
        texts.append(str(problem).removeprefix(f"{file}:"))
    assert places == [(6, 15), (7, 28), (8, 15), (9, 15), (10, 39), (12, 47)]
    assert "'role:backbone.steam' matches nothing in the model (the closest are role:backbone.stem" in texts[0]
    assert "rules[1].match[1]: 'op:konv' matches nothing in the model (the closest are op:conv" in texts[1]
    assert "no operation matches all of 'class_head', 'op:conv', though each matches some" in texts[2]
    assert "the closest are layers.*.cross_attention" in texts[3]
    assert "rules[4].activation: the rule quantizes class_head.input" in texts[4]
    assert "without quantizer" in texts[4]
    assert "train.stages[0].quantize[0]: the model has no role 'backbon' (the closest are backbone" in texts[5]


def test_roles_that_the_model_lacks(toy: Specimen) -> None:
    recipe = a_recipe(roles={"head.class": "clas_head", "decoder.cross_attention": "nowhere.*"})
    for part in ("model", "teacher"):
        with pytest.raises(PlanErrors) as caught:
            plan_of(toy.captured, recipe, (16, 24), recipe.model.roles, part=part)
        first, second = map(str, caught.value.problems)
        assert (
            first
            == f"{part}.roles.head.class: no module matches 'clas_head' (the closest are class_head, box_head, layers)"
        )
        assert second.startswith(f"{part}.roles.decoder.cross_attention: no module matches 'nowhere.*'")


def test_a_tap_that_no_model_has(toy: Specimen) -> None:
    recipe = a_recipe(targets=[{"at": "decoder.layer.output"}])
    targets = (replace(recipe.distill.targets[0], at="decoder.output"),)
    wrong = replace(recipe, distill=replace(recipe.distill, targets=targets))
    with pytest.raises(PlanError, match=r"'decoder.output' cannot be distilled \(one of decoder"):
        plan_of(toy.captured, wrong, (16, 24))
