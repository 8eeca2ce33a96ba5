"""AdamW with a parameter group per kind of parameter, and steps in the coordinates that quantizers ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from torch import nn
from torch.optim import AdamW

from ..distill import QueryAlignment
from ..errors import TrainError
from ..quantizers import Quantizer, Step, step_in_coordinates
from ..recipe.definition import OptimizerSpec

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


def build_optimizer(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    spec: OptimizerSpec,
    is_backbone: Callable[[str], bool],
    modules: Iterable[nn.Module],
) -> tuple[AdamW, tuple[ParameterGroup, ...]]:
    """AdamW over the parameters that require gradients, and the table of its groups. Empty groups are left out.

    Quantizers' parameters, alignments, norms and biases (all that has one axis or none) are not decayed.

    Each group keeps its name under ``"name"`` and its unscheduled learning rate under ``"base_lr"``.

    Args:
        is_backbone: by a parameter's name.
        modules: where quantizers and alignments are found; a quantizer says how its parameters step.

    Raises:
        TrainError: nothing requires gradients.
    """
    found = list(modules)
    steps = [step for module in found if isinstance(module, Quantizer) for step in module.steps()]
    added = _groups_of_added(found, steps)
    members: dict[GroupName, list[tuple[str, nn.Parameter]]] = {name: [] for name in ORDER}
    for name, parameter in named_parameters:
        if parameter.requires_grad:
            group = added.get(parameter) or _group_of_own(parameter, is_backbone(name))
            members[group].append((name, parameter))
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
    # One call for hundreds of small tensors; torch takes a loop on a CPU unless it is told.
    fused = all(parameter.device.type in ("cpu", "cuda") for own in members.values() for _, parameter in own)
    optimizer = AdamW(groups, lr=spec.lr, betas=spec.betas, weight_decay=spec.weight_decay, fused=fused)
    step_in_coordinates(optimizer, steps)
    return optimizer, table


def _groups_of_added(modules: Iterable[nn.Module], steps: Iterable[Step]) -> dict[nn.Parameter, GroupName]:
    """The groups of what qrecipe adds to a model; tensors are their own keys, by identity."""
    groups: dict[nn.Parameter, GroupName] = {}
    for step in steps:
        groups.update(dict.fromkeys(step.parameters, "quantizer" if step.rate == "quantizer" else "rest, no decay"))
    for module in modules:
        if isinstance(module, QueryAlignment):
            groups.update(dict.fromkeys(module.parameters(), "alignment"))
    return groups


def _group_of_own(parameter: nn.Parameter, is_backbone: bool) -> GroupName:
    if is_backbone:
        return "backbone, no decay" if parameter.ndim <= 1 else "backbone"
    return "rest, no decay" if parameter.ndim <= 1 else "rest"


def _rate(group: GroupName, spec: OptimizerSpec) -> float:
    chosen = {
        "backbone": spec.lr_backbone,
        "backbone, no decay": spec.lr_backbone,
        "quantizer": spec.lr_quantizer,
    }.get(group)
    return spec.lr if chosen is None else chosen
