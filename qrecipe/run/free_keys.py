"""Keys of a recipe that a resumed run may have otherwise than it was started with: they change no result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..recipe.definition import TrainSpec

FREE: tuple[tuple[tuple[str, ...], str], ...] = (
    ((), "output"),
    (("data",), "workers"),
    (("train",), "trackers"),
    (("train",), "checkpointing"),
)
"""Section and key. So are ``train.batch_size`` and ``train.accumulate`` together, where their product is as it was: a
step has the same images and gradients, but for rounding."""


def comparable(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two resolved recipes, or two settings of a training, without what may differ."""
    free = FREE
    if images_of_step(old) == images_of_step(new):
        free = (*FREE, (("train",), "batch_size"), (("train",), "accumulate"))
    return _without(old, free), _without(new, free)


def images_of_step(recipe: Mapping[str, Any]) -> int:
    size, batches = batches_of_step(recipe)
    return size * batches


def batches_of_step(recipe: Mapping[str, Any]) -> tuple[int, int]:
    """How many images a batch has, and how many batches a step."""
    train = recipe.get("train") or {}
    usual = TrainSpec()
    return train.get("batch_size", usual.batch_size), train.get("accumulate", usual.accumulate)


def _without(recipe: Mapping[str, Any], free: tuple[tuple[tuple[str, ...], str], ...]) -> dict[str, Any]:
    """Sections that have nothing else are left out as well."""
    left = dict(recipe)
    for section, key in free:
        if not section:
            left.pop(key, None)
        elif isinstance(inner := left.get(section[0]), dict) and key in inner:
            left[section[0]] = {name: value for name, value in inner.items() if name != key}
            if not left[section[0]]:
                del left[section[0]]
    return left
