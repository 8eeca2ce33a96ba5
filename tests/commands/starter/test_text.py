"""How what can be distilled is distilled, by the kind of detector."""

from __future__ import annotations

from pathlib import Path

import pytest

from qrecipe.commands.starter.text import distilled_values
from qrecipe.recipe import load_recipe
from tests.specimens import Specimen, a_recipe

PIECES = Path(__file__).parents[3] / "recipes" / "base"


@pytest.mark.parametrize(("name", "piece"), [("demo", "same_queries"), ("deimv2", "same_queries_corners")])
def test_sigmoids_learn_query_by_query(name: str, piece: str, request: pytest.FixtureRequest) -> None:
    """With the weights of the recipes."""
    specimen: Specimen = request.getfixturevalue(name)
    values = distilled_values(specimen.original, a_recipe())
    assert (values["same"], values["backbone_map"], values["encoder_map"]) == (True, True, True)
    assert not any(values[name] for name in ("paper", "aligned", "unaligned", "taught", "undistilled", "others"))
    targets = load_recipe(PIECES / f"{piece}.yaml", ["model.architecture=demo"], data=False).distill.targets
    weights = [values[f"w_{part}"] for part in ("map", "map", "feature", "class", "l1", "giou")]
    assert [target.weight for target in targets] == weights


def test_with_the_queries_of_another_they_learn_as_in_the_paper(demo: Specimen) -> None:
    values = distilled_values(demo.original, a_recipe(), "they are others")
    assert (values["same"], values["backbone_map"], values["paper"], values["taught"]) == (False, False, True, True)
    assert values["others"] == "; queries are matched by their boxes, as they are others"


def test_a_softmax_learns_as_in_the_paper(detr: Specimen) -> None:
    values = distilled_values(detr.original, a_recipe())
    assert (values["same"], values["paper"], values["aligned"], values["taught"]) == (False, True, 2, True)
