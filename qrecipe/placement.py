"""Where a model's numbers live: the device and the floating-point type that its inputs and its added parts follow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Placement:
    """A device, and a floating-point type."""

    device: torch.device
    dtype: torch.dtype

    def move(self, value: Tensor) -> Tensor:
        """The value on the device; in the type where it is floating-point, as masks and labels are not."""
        return value.to(self.device, self.dtype if value.is_floating_point() else value.dtype)


def fitted_labels(labels: Iterable[Mapping[str, Tensor]], like: Tensor) -> list[dict[str, Tensor]]:
    """Labels on the device of ``like``, boxes with its type, as matchers and losses expect them."""
    placement = Placement(like.device, like.dtype)
    return [{name: placement.move(label[name]) for name in ("class_labels", "boxes")} for label in labels]


def placement_of(model: nn.Module) -> Placement:
    """That of the model's first floating-point parameter; the CPU and torch's default type where it has none."""
    found = next((value for value in model.parameters() if value.is_floating_point()), None)
    if found is None:
        return Placement(torch.device("cpu"), torch.get_default_dtype())
    return Placement(found.device, found.dtype)
