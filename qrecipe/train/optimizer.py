"""AdamW with a parameter group per kind of parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from torch import nn
from torch.optim import AdamW

from ..errors import TrainError
from ..recipe.definition import OptimizerSpec
from .relative import make_relative

QUANTIZERS = "fake_quantizers."
ALIGNMENTS = "alignments."

GroupName = Literal["backbone", "backbone, no decay", "rest", "rest, no decay", "alignment", "quantizer"]
ORDER: tuple[GroupName, ...] = ("backbone", "backbone, no decay", "rest", "rest, no decay", "alignment", "quantizer")
"""The order of the groups in the optimizer, which its saved state relies on."""


@dataclass(frozen=True)
class ParameterGroup:
    """What went where, for the log.

    lr: the learning rate that the schedule multiplies. tensors, parameters: how many of each.
    """

    name: GroupName
    lr: float
    weight_decay: float
    tensors: int
    parameters: int
    names: tuple[str, ...]


def group_of(name: str, parameter: nn.Parameter, is_backbone: Callable[[str], bool]) -> GroupName:
    """The group of one parameter, by its name in the student and its shape.

    Scales, offsets, alignments, norms and biases (all that has one axis or none) are not decayed.
    """
    if name.startswith(QUANTIZERS):
        return "quantizer"
    if name.startswith(ALIGNMENTS):
        return "alignment"
    if is_backbone(name):
        return "backbone, no decay" if parameter.ndim <= 1 else "backbone"
    return "rest, no decay" if parameter.ndim <= 1 else "rest"


def build_optimizer(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    spec: OptimizerSpec,
    is_backbone: Callable[[str], bool],
) -> tuple[AdamW, tuple[ParameterGroup, ...]]:
    """AdamW over the parameters that require gradients, and the table of its groups. Empty groups are left out.

    Steps of quantizers' scales and offsets are relative: see :mod:`qrecipe.train.relative`.

    Each group keeps its name under ``"name"`` and its unscheduled learning rate under ``"base_lr"``.

    Raises:
        TrainError: nothing requires gradients.
    """
    members: dict[GroupName, list[tuple[str, nn.Parameter]]] = {name: [] for name in ORDER}
    named = list(named_parameters)
    for name, parameter in named:
        if parameter.requires_grad:
            members[group_of(name, parameter, is_backbone)].append((name, parameter))
    table = tuple(
        ParameterGroup(
            name=group,
            lr=_rate(group, spec),
            weight_decay=spec.weight_decay if group in ("backbone", "rest") else 0.0,
            tensors=len(members[group]),
            parameters=sum(parameter.numel() for _, parameter in members[group]),
            names=tuple(name for name, _ in members[group]),
        )
        for group in ORDER
        if members[group]
    )
    if not table:
        raise TrainError("no parameter requires gradients: there is nothing to train")
    groups = [
        {
            "params": [parameter for _, parameter in members[row.name]],
            "lr": row.lr,
            "base_lr": row.lr,
            "weight_decay": row.weight_decay,
            "name": row.name,
        }
        for row in table
    ]
    optimizer = AdamW(groups, lr=spec.lr, betas=spec.betas, weight_decay=spec.weight_decay)
    make_relative(optimizer, [(name, value) for name, value in named if _is_range(name)])
    return optimizer, table


def _is_range(name: str) -> bool:
    return name.startswith(QUANTIZERS) and name.endswith((".scale", ".offset"))


def _rate(group: GroupName, spec: OptimizerSpec) -> float:
    chosen = {
        "backbone": spec.lr_backbone,
        "backbone, no decay": spec.lr_backbone,
        "quantizer": spec.lr_quantizer,
    }.get(group)
    return spec.lr if chosen is None else chosen
