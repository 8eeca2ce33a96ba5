"""What a new distance between features, and a new matcher, take: a function and a row each."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from qrecipe.distill import LOSSES, MATCHERS, Match, distill_loss, match_queries
from qrecipe.errors import RecipeErrors
from qrecipe.recipe import schema
from qrecipe.recipe.definition import MatchSpec
from qrecipe.recipe.distill_table import LossRow, MatcherRow
from qrecipe.recipe.key_tables import reference
from qrecipe.train.module import TrainingModule
from tests.specimens import ALIGN, TARGETS, W4A4, Specimen, a_recipe

TABLE = tuple(LOSSES)
TOY = {**TARGETS[0], "loss": "largest", "match": {"kind": "first", "l1": 3.0}}


def largest(student: Tensor, teacher: Tensor) -> Tensor:
    return (student - teacher).abs().amax(-1)


def first(spec: MatchSpec, student: Tensor, teacher: Tensor, gt_boxes: Sequence[Tensor], scores: Tensor) -> Match:
    """The first query of each image learns from the first."""
    keep = torch.zeros(student.shape[:2], dtype=torch.bool)
    keep[:, 0] = spec.l1 == 3.0
    return Match(keep, torch.zeros(student.shape[:2], dtype=torch.int64))


@pytest.fixture(autouse=True)
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LOSSES, "largest", LossRow(f"{__name__}:largest", "the largest difference"))
    monkeypatch.setitem(MATCHERS, "first", MatcherRow(f"{__name__}:first", "the first query", ("l1",)))


def test_the_language_knows_the_rows() -> None:
    target = schema()["$defs"]["target"]["properties"]
    assert target["loss"]["enum"] == [*TABLE, "largest"]
    assert target["match"]["properties"]["kind"]["enum"] == ["foreground", "all", "same", "first"]
    text = reference()
    assert "cosine is 1 less the cosine of their angle; largest is the largest difference. Maps:" in text
    assert "the student decoding what the teacher chooses; first: the first query" in text
    (spec,) = a_recipe(W4A4, align=ALIGN, targets=[TOY]).distill.targets
    assert (spec.loss, spec.match.kind) == ("largest", "first")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"loss": "larges"},
            "distill.targets[0].loss: must be l2, relative, mse, cosine, kl, bce, l1, giou or largest; "
            'found "larges" (did you mean "largest"?)',
        ),
        (
            {"at": "head.box"},
            "distill.targets[0].loss: largest does not compare boxes, which head.box has (set loss: l2, l1 or giou)",
        ),
        (
            {"match": {"kind": "first", "giou": 1.0}},
            "distill.targets[0].match.giou: giou is only for kind: foreground or all (remove it)",
        ),
    ],
)
def test_their_mistakes_are_told(changes: dict[str, object], expected: str) -> None:
    with pytest.raises(RecipeErrors) as caught:
        a_recipe(targets=[{**TOY, **changes}])
    assert [str(problem) for problem in caught.value.problems] == [expected]


def test_a_student_learns_by_them(toy: Specimen) -> None:
    recipe = a_recipe(targets=[TOY])
    student, teacher = toy.student(recipe), toy.student(recipe)
    module = TrainingModule(student, teacher).train()
    batch = toy.batch((2, 1))
    _, parts = module(batch)
    assert parts["distill"] < 1e-12  # the student is its teacher
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.1)
    total, parts = module(batch)
    assert parts["distill"] > 0
    total.backward()


def test_the_rows_code_is_called() -> None:
    student, teacher = torch.rand(2, 3, 4), torch.rand(2, 3, 4)
    found = match_queries(MatchSpec("first", l1=3.0), student, teacher, [torch.rand(1, 4)] * 2, torch.rand(2, 3))
    total, count = distill_loss(student, teacher, found, "largest")
    torch.testing.assert_close(total, (student[:, 0] - teacher[:, 0]).abs().amax(-1).sum())
    assert count == 2
