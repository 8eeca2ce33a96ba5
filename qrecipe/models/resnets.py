"""ResNet backbones of transformers' DETRs: transformers' own in the place of timm's, which is never imported.

The published weights were made with timm's ResNets. transformers' ResNet is the same network under other names, so
their configurations and weights are carried over; the dilated ones (DC5) are not, as it has no dilation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ..suggestions import hint
from .model_place import ModelPlace

RESNETS: dict[str, dict[str, Any]] = {
    "resnet18": {"depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512], "layer_type": "basic"},
    "resnet34": {"depths": [3, 4, 6, 3], "hidden_sizes": [64, 128, 256, 512], "layer_type": "basic"},
    "resnet50": {"depths": [3, 4, 6, 3]},
    "resnet101": {"depths": [3, 4, 23, 3]},
}

TIMM = re.compile(r"(?P<before>.*\bbackbone\.(?:conv_encoder\.)?model\.)(?P<own>(?:conv1|bn1|layer[1-4]\.\d+)\..+)")
BACKBONE = re.compile(r"\bbackbone\.(?:conv_encoder\.)?model\.(?P<own>.+)")
KIND = {"conv": "convolution", "bn": "normalization"}
PART = re.compile(r"layer(?P<stage>\d)\.(?P<block>\d+)\.(?P<kind>conv|bn)(?P<number>\d)\.(?P<rest>.+)")
SHORTCUT = re.compile(r"layer(?P<stage>\d)\.(?P<block>\d+)\.downsample\.(?P<number>[01])\.(?P<rest>.+)")


def resnet_values(architecture: str, default: str, values: Mapping[str, Any], place: ModelPlace) -> dict[str, Any]:
    """A recipe's ``model.config`` with ``backbone: resnet50`` spelled out as a ``backbone_config`` of transformers.

    Args:
        default: the backbone where the recipe names none.

    Raises:
        ModelError: there is no such backbone, or dilation is asked for, which only timm's have.
    """
    filled = dict(values)
    if filled.get("dilation"):
        raise place.error(
            ("config", "dilation"), "dilation needs a backbone of timm, which is not used", "leave it out"
        )
    if filled.get("backbone_config") is None:
        name = filled.pop("backbone", default)
        if name not in RESNETS:
            near = hint(str(name), RESNETS)
            raise place.error(("config", "backbone"), f'no backbone "{name}"', f"{near}there are {', '.join(RESNETS)}")
        several = architecture == "deformable_detr" and filled.get("num_feature_levels", 4) > 1
        filled["backbone_config"] = _described(name, several)
    return filled


def without_timm(config: Any, place: ModelPlace) -> None:
    """Put transformers' ResNet in the place of timm's in a stored configuration.

    Raises:
        ModelError: the backbone is none of ``RESNETS``, or dilated.
    """
    from transformers import ResNetConfig

    backbone = getattr(config, "backbone_config", None)
    if backbone is None or backbone.model_type != "timm_backbone":
        return
    if backbone.backbone not in RESNETS or config.dilation:
        dilated = " with dilation" if config.dilation else ""
        raise place.error(
            ("weights",),
            f"its backbone {backbone.backbone}{dilated} needs timm",
            f"without timm there are {', '.join(RESNETS)}, not dilated",
        )
    several = config.model_type == "deformable_detr" and config.num_feature_levels > 1
    described = _described(backbone.backbone, several)
    config.backbone_config = ResNetConfig(**{key: value for key, value in described.items() if key != "model_type"})


def own_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state_dict with timm's names of a ResNet changed to transformers'; every other key as it is."""
    return {_own_name(key): value for key, value in state.items()}


def thaw_resnet(model: nn.Module) -> None:
    """Let the stages after a ResNet's first one train, and nothing before them, as in the original DETR.

    transformers means to do so, but looks for timm's names: of its own ResNets it freezes every weight, or, in
    DAB-DETR, none.
    """
    for name, parameter in model.named_parameters():
        found = BACKBONE.search(name)
        if found is not None:
            parameter.requires_grad_(
                found["own"].startswith(("encoder.stages.1.", "encoder.stages.2.", "encoder.stages.3."))
            )


def _described(name: str, several: bool) -> dict[str, Any]:
    features = ["stage2", "stage3", "stage4"] if several else ["stage4"]
    return {"model_type": "resnet", **RESNETS[name], "out_features": features}


def _own_name(key: str) -> str:
    found = TIMM.fullmatch(key)
    if found is None:
        return key
    before, own = found["before"], found["own"]
    if own.startswith(("conv1.", "bn1.")):
        kind, rest = own.split(".", 1)
        return f"{before}embedder.embedder.{KIND[kind.rstrip('1')]}.{rest}"
    part, shortcut = PART.fullmatch(own), SHORTCUT.fullmatch(own)
    found = part or shortcut
    if found is None:
        return key
    block = f"{before}encoder.stages.{int(found['stage']) - 1}.layers.{found['block']}."
    if part is not None:
        return f"{block}layer.{int(part['number']) - 1}.{KIND[part['kind']]}.{part['rest']}"
    return f"{block}shortcut.{('convolution', 'normalization')[int(found['number'])]}.{found['rest']}"
