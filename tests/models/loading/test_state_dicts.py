"""Strict loading, and the one exception."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from qrecipe.errors import ModelError
from qrecipe.models.loading.state_dicts import fill, reinitialised, restore_tied


class Tied(nn.Module):
    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.body = nn.Linear(4, 4)
        self.again = self.body
        self.head = nn.Linear(4, classes)


def is_head(key: str, built: object, stored: object) -> bool:
    return key.startswith("head.")


def without(state: dict[str, torch.Tensor], *keys: str) -> dict[str, torch.Tensor]:
    return {key: value for key, value in state.items() if key not in keys}


def test_everything_is_copied() -> None:
    source, model = Tied(), Tied()
    assert fill(model, source.state_dict(), is_head) == []
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, source.state_dict()[key])


def test_a_tied_tensor_is_stored_once() -> None:
    source, model = Tied(), Tied()
    fill(model, without(source.state_dict(), "again.weight", "again.bias"), is_head)
    torch.testing.assert_close(model.again.weight, source.body.weight)


def test_batches_tracked_may_be_missing() -> None:
    fill(Tied(), without(Tied().state_dict(), "norm.num_batches_tracked"), is_head)


def test_a_head_of_another_size_is_left_and_told() -> None:
    model = Tied(3)
    before = model.head.weight.detach().clone()
    differing = fill(model, Tied(91).state_dict(), is_head)
    torch.testing.assert_close(model.head.weight, before)
    message = reinitialised(differing)
    assert "head.weight (91, 4) -> (3, 4)" in message
    assert "head.bias (91,) -> (3,)" in message
    assert "body" not in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: without(state, "body.weight", "again.weight"), "missing: again.weight, body.weight$"),
        (lambda state: {**state, "extra": torch.zeros(1)}, "unexpected: extra"),
        (lambda state: {**state, "body.bias": torch.zeros(5)}, r"of another shape: body.bias \(5,\) -> \(4,\)"),
    ],
)
def test_anything_else_is_an_error(change: object, message: str) -> None:
    state = change(Tied().state_dict())  # type: ignore[operator]
    with pytest.raises(ModelError) as caught:
        fill(Tied(), state, is_head)
    assert re.search(message, caught.value.what)


def test_ten_keys_are_listed() -> None:
    state = {**Tied().state_dict(), **{f"extra{number:02}": torch.zeros(1) for number in range(14)}}
    with pytest.raises(ModelError, match="extra09 and 4 more"):
        fill(Tied(), state, is_head)


def test_nothing_is_copied_when_it_does_not_fit() -> None:
    model = Tied()
    before = model.body.weight.detach().clone()
    with pytest.raises(ModelError):
        fill(model, {**Tied().state_dict(), "extra": torch.zeros(1)}, is_head)
    torch.testing.assert_close(model.body.weight, before)


def test_a_tied_tensor_is_restored_from_any_of_its_names() -> None:
    model = Tied()
    head = model.head.weight.detach().clone()
    restore_tied(model, {"again.weight": torch.ones(4, 4), "head.weight": torch.ones(3, 4), "other": torch.ones(1)})
    torch.testing.assert_close(model.body.weight.detach(), torch.ones(4, 4))
    torch.testing.assert_close(model.head.weight.detach(), head)


def test_several_tensors_for_one() -> None:
    """They may all be stored, as the model's state has them, but must be one."""
    state = Tied().state_dict()
    fill(Tied(), {**state, "again.weight": state["body.weight"].clone()}, is_head)
    with pytest.raises(
        ModelError, match=r"1 tensors are one in the model and differ in the file: body.weight and again"
    ):
        fill(Tied(), {**state, "again.weight": state["body.weight"] + 1}, is_head)


def test_several_tensors_for_a_head_that_starts_afresh() -> None:
    """None of them is taken."""
    state = Tied(91).state_dict()
    model = Tied(3)
    model.again_head = model.head
    stored = {**state, "again_head.weight": state["head.weight"] + 1, "again_head.bias": state["head.bias"]}
    assert len(fill(model, stored, lambda key, *_: "head" in key)) == 4
