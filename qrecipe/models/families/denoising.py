"""Contrastive denoising (DINO, ICLR 2023, section 3.3) of transformers' real-time detectors, outside of their graph.

In training these detectors put noised copies of an image's objects before the queries and learn to undo the noise.
The noise needs labels, whose number changes with every batch: it is made here, by transformers' own function, and given
to the captured model as tensors. What is left in the graph is an embedding, two concatenations and a mask.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from .base import Labels

CLASSES, BOXES, GROUPS = "denoising_classes", "denoising_boxes", "denoising_groups"
"""Inputs of a detector with denoising: (batch, D) int64, (batch, D, 4) cxcywh in logits, (batch, D) int64."""
_MAKES_NOISE = "get_contrastive_denoising_training_group"


def module_of(kind: str) -> ModuleType:
    """The module of transformers that defines a kind of detector, such as ``rt_detr``."""
    return importlib.import_module(f"transformers.models.{kind}.modeling_{kind}")


def no_noise(config: Any, like: Tensor) -> dict[str, Tensor]:
    """Denoising inputs that stand for no object: two groups of queries that differ, so that a capture that is compared
    with its model on them is seen to keep the groups apart.

    Args:
        like: images (batch, 3, height, width), for batch, device and type.
    """
    batch = like.shape[0]
    count = 2 * (batch + 1)  # it differs from the batch, so that a capture takes neither for the other
    number = torch.arange(count, device=like.device).expand(batch, -1)
    boxes = (number[..., None] / count - 0.5).to(like).expand(-1, -1, 4)
    return {CLASSES: number % int(config.num_labels), BOXES: boxes, GROUPS: number // (batch + 1)}


def noised(kind: str, config: Any, labels: Labels, like: Tensor) -> dict[str, Tensor]:
    """The denoising inputs of a batch: a positive and a negative copy of every object, in as many groups as
    ``config.num_denoising`` queries allow. Draws random numbers. Where no image has an object, ``no_noise``.

    Args:
        labels: ``class_labels`` (n,) and ``boxes`` (n, 4) of each image.
        like: images (batch, 3, height, width), for device and type.
    """
    moved = [{name: label[name].to(like.device) for name in ("class_labels", "boxes")} for label in labels]
    classes, boxes, _, made = getattr(module_of(kind), _MAKES_NOISE)(
        moved,
        config.num_labels,
        config.num_queries,
        lambda classes: classes,
        config.num_denoising,
        config.label_noise_ratio,
        config.box_noise_scale,
    )
    if classes is None:
        return no_noise(config, like)
    number = torch.arange(classes.shape[1], device=like.device)
    groups = number // (classes.shape[1] // made["dn_num_group"])
    return {CLASSES: classes.long(), BOXES: boxes.to(like), GROUPS: groups.expand(like.shape[0], -1)}


def meta_values(config: Any, labels: Labels) -> dict[str, Any]:
    """Which denoising queries stand for which objects, as transformers' losses read it: a function of the counts alone.

    Source: ``denoising_meta_values`` of transformers, whose positive copies open each group.
    """
    counts = [len(label["class_labels"]) for label in labels]
    most = max(counts)
    groups = max(int(config.num_denoising) // most, 1)
    device = labels[0]["class_labels"].device
    starts = torch.arange(groups, device=device)[:, None] * 2 * most
    return {
        "dn_positive_idx": [(starts + torch.arange(count, device=device)).flatten() for count in counts],
        "dn_num_group": groups,
        "dn_num_split": [2 * most * groups, int(config.num_queries)],
    }


@contextmanager
def denoising(model: nn.Module, kind: str, given: Mapping[str, Tensor], queries: int) -> Iterator[None]:
    """While it is entered, the model in training takes its denoising queries from ``given``. It is left as it was.

    Args:
        model: a detector whose ``model`` is what reads labels. queries: how many it has beside these.
    """
    inner: Any = model.get_submodule("model")
    module = module_of(kind)
    before = getattr(module, _MAKES_NOISE)

    def stand_in(targets: Any, class_embed: nn.Module, **_: Any) -> tuple[Tensor, Tensor, Tensor, None]:
        return class_embed(given[CLASSES]), given[BOXES], denoising_mask(given[GROUPS][0], queries, given[BOXES]), None

    def with_labels(_module: nn.Module, arguments: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return arguments, {**named, "labels": given}

    hook = inner.register_forward_pre_hook(with_labels, with_kwargs=True)
    setattr(module, _MAKES_NOISE, stand_in)
    try:
        yield
    finally:
        setattr(module, _MAKES_NOISE, before)
        hook.remove()


def denoising_mask(groups: Tensor, queries: int, like: Tensor) -> Tensor:
    """(D + queries, D + queries): -inf where one may not see the other. A group is seen by itself alone."""
    own = torch.cat((groups, groups.new_full((queries,), -1)))
    hidden = (own[None] >= 0) & (own[None] != own[:, None])
    return torch.zeros_like(hidden, dtype=like.dtype).masked_fill(hidden, -torch.inf)
