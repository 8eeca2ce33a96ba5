"""What of one's own output is read: layers under the names that codebases use, and what nobody reads is named."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from qrecipe.errors import ModelError
from qrecipe.models.families.own_outputs import BESIDE, read_outputs, unread_names


def layer(queries: int = 5, columns: int = 3) -> dict[str, Tensor]:
    return {"pred_logits": torch.rand(2, queries, columns), "pred_boxes": torch.rand(2, queries, 4)}


def test_every_known_form_is_one_more_layer() -> None:
    forms: dict[str, Any] = {
        "aux_outputs": [layer(), layer()],
        "enc_aux_outputs": [layer(7)],
        "pre_outputs": layer(),
        "enc_outputs": layer(9),
        "interm_outputs": layer(),
    }
    assert set(BESIDE) == set(forms) - {"aux_outputs"}
    outputs = {**layer(), **forms}
    assert [logits.shape[1] for logits, _ in read_outputs(outputs).auxiliary] == [5, 5, 7, 5, 9, 5]
    assert unread_names(outputs) == ()
    for name, form in forms.items():
        count = len(form) if isinstance(form, list) else 1
        assert len(read_outputs({**layer(), name: form}).auxiliary) == count, name


@pytest.mark.parametrize(
    "value",
    [layer(columns=1), {"scores": torch.rand(2, 5, 3)}, torch.rand(2, 5, 4), [layer(), {}]],
    ids=("agnostic", "unnamed", "tensor", "part"),
)
def test_what_cannot_be_trained_with_the_same_classes_is_named(value: Any) -> None:
    """A class-agnostic score, for one."""
    outputs = {**layer(), "enc_outputs": value, "hidden": [torch.rand(2)], "meta": {"strides": (8, 16)}, "none": None}
    assert read_outputs(outputs).auxiliary == ()
    assert unread_names(outputs) == ("enc_outputs", "hidden")


@dataclass
class Outputs:
    logits: Tensor
    pred_boxes: Tensor
    mask: Tensor | None = None


def test_names_are_those_of_any_kind_of_output() -> None:
    logits, boxes = layer().values()
    assert unread_names(Outputs(logits, boxes)) == ()
    assert unread_names(Outputs(logits, boxes, logits)) == ("mask",)
    Pair = namedtuple("Pair", ("logits", "boxes", "features"))
    assert unread_names(Pair(logits, boxes, logits)) == ("features",)
    assert unread_names((logits, boxes)) == ()
    assert unread_names({"logits": logits, "pred_logits": logits, "boxes": boxes}) == ("pred_logits",)


def test_auxiliary_outputs_of_another_kind_are_an_error() -> None:
    with pytest.raises(ModelError, match="its auxiliary outputs are a Tensor"):
        read_outputs({**layer(), "aux_outputs": torch.rand(2)})
