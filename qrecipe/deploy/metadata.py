"""What a file says beside its graph: how images are prepared, how logits read, which classes there are."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from ..data.labels import LabelMap
from ..detection.prediction import Scores
from ..recipe.definition import InputSpec
from ..student import Student
from ..student.store import read_input
from .mode import EXPORT_MODES, ExportMode

KEY = "qrecipe"
"""Of the file's metadata; its value is JSON."""
FORMAT = 1
"""Of what is written here; a file of a newer one is refused."""


@dataclass(frozen=True)
class Metadata:
    """input: how images are prepared, to that size where the file is fixed to one. fixed: batch, height, width; None
    where any will do. label_map: None where the student was compiled without data. recipe: resolved, as its run's
    folder has it; None of ``qrecipe.compile``."""

    input: InputSpec
    scores: Scores
    label_map: LabelMap | None
    mode: ExportMode
    fixed: tuple[int | None, int | None, int | None]
    recipe: Mapping[str, Any] | None = None

    def text(self) -> str:
        labels = self.label_map
        return json.dumps(
            {
                "format": FORMAT,
                "mode": self.mode,
                "input": dataclasses.asdict(self.input),
                "scores": self.scores,
                "fixed": self.fixed,
                "category_to_class": labels and [*labels.category_to_class.items()],
                "names": labels and [*labels.names.items()],
                "classes": labels and labels.classes,
                "recipe": self.recipe,
            }
        )

    @staticmethod
    def read(text: str) -> Metadata:
        """Raises:

        KeyError, TypeError, ValueError, AttributeError, RecursionError: it is not what ``text`` writes.
        """
        data: Mapping[str, Any] = json.loads(text)
        if data["format"] != FORMAT:
            raise ValueError(f"it is of format {data['format']}, and this version reads {FORMAT}")
        for name, known in (("scores", get_args(Scores)), ("mode", EXPORT_MODES)):
            if data[name] not in known:
                raise ValueError(f"its {name} are {data[name]!r}")
        pairs = data["category_to_class"]
        labels = None if pairs is None else LabelMap(dict(pairs), dict(data["names"]), data["classes"])
        batch, height, width = data["fixed"]
        if any(one is not None and not _is_count(one) for one in (batch, height, width)):
            raise ValueError(f"its sizes are {data['fixed']}")
        image_input = read_input(data["input"])
        _check(image_input)
        return Metadata(image_input, data["scores"], labels, data["mode"], (batch, height, width), data.get("recipe"))


def input_of_size(image_input: InputSpec, height: int | None, width: int | None) -> InputSpec:
    """How images are prepared for a file of this size: resized to it, whatever their aspect. None: any size."""
    if height is None or width is None or image_input.size == (height, width):
        return image_input
    return dataclasses.replace(
        image_input, size=(height, width), shortest=None, longest=None, within=None, multiple=None
    )


def _check(image_input: InputSpec) -> None:
    """Raises: ValueError: no image can be prepared so."""
    grey = image_input.grey_range
    fine = {
        **{name: _are(getattr(image_input, name), 2, _is_count) for name in ("size", "within")},
        **{name: _are(getattr(image_input, name), 1, _is_count) for name in ("shortest", "longest", "multiple")},
        "mean": _are(image_input.mean, 3, _is_number),
        "std": _are(image_input.std, 3, lambda one: _is_number(one) and one > 0),
        "grey_range": grey is None or (_are(grey, 2, lambda one: isinstance(one, int)) and grey[0] < grey[1]),
        "mask": isinstance(image_input.mask, bool | None),
    }
    for name, is_fine in fine.items():
        if not is_fine:
            raise ValueError(f"its {name} is {getattr(image_input, name)}")
    if not (image_input.size or image_input.shortest or image_input.within):
        raise ValueError("it says no size of images")


def _are(value: Any, count: int, is_fine: Callable[[Any], bool]) -> bool:
    """Whether a value is None, or so many fine ones: itself where it is one."""
    if value is None:
        return True
    values = (value,) if count == 1 else value
    return isinstance(values, tuple) and len(values) == count and all(map(is_fine, values))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def metadata_of(student: Student, mode: ExportMode, fixed: tuple[int | None, int | None, int | None]) -> Metadata:
    """What a student's file says. fixed: batch, height and width that it takes; None where any will do."""
    prepared = input_of_size(student.input, *fixed[1:])
    return Metadata(prepared, student.family.scores, student.label_map, mode, fixed, student.recipe.resolved)
