"""The sections of a new recipe that name files: model, teacher and data, as plain data."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

from ...recipe.definition import InputSpec
from .data import StarterData
from .model import StarterModel

SYNTHETIC = {"train": 512, "val": 128, "test": 256, "size": 128, "seed": 0}


def model_section(model: StarterModel, base: Path | None) -> dict[str, Any]:
    """The keys under ``model``. base: as ``written``."""
    section: dict[str, Any] = copy.deepcopy(dict(model.section))
    for path, typed in model.paths.items():
        here: Any = section
        for key in path[:-1]:
            here = here[key]
        file, colon, function = typed.rpartition(":") if path[-1] == "factory" else (typed, "", "")
        here[path[-1]] = written(Path(file).expanduser(), base) + colon + function
    return section


def data_section(data: StarterData, base: Path | None) -> dict[str, Any]:
    """The keys under ``data``: format, and the splits or the synthetic set. A dollar sign of a path is doubled."""
    if data.splits is None:
        return {"format": "synthetic", "synthetic": SYNTHETIC}
    return {"format": "coco"} | {
        name: {
            "images": written(split.images, base).replace("$", "$$"),
            "annotations": written(split.annotations, base).replace("$", "$$"),
        }
        for name, split in data.splits.items()
    }


def input_section(chosen: InputSpec, default: InputSpec) -> dict[str, Any]:
    """The keys under ``model.input``: the size in its own form, and values where they are not the family's default."""
    keys = ("size", "within", "shortest", "longest", "multiple")
    found = {key: getattr(chosen, key) for key in keys if getattr(chosen, key) is not None}
    if (chosen.mean, chosen.std) != (default.mean, default.std):
        found |= {"mean": chosen.mean, "std": chosen.std}
    return found


def written(path: Path, base: Path | None) -> str:
    """A path as a recipe in the folder ``base`` names it: from there if it was typed relative, else as it was typed.

    base: None for a recipe that stands in no file: every path is absolute.
    """
    if path.is_absolute() or base is None:
        return str(path.absolute())
    return os.path.relpath(path.absolute(), base)
