"""What a file says beside its graph: how images are prepared, how logits read, which classes there are."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..data.labels import LabelMap
from ..detection.prediction import Scores
from ..recipe.definition import InputSpec
from ..student import Student
from ..student.store import read_input
from .mode import ExportMode

KEY = "qrecipe"
"""Of the file's metadata; its value is JSON."""


@dataclass(frozen=True)
class Metadata:
    """input: how images are prepared. fixed: batch, height, width; None where any will do. label_map: None where the
    student was compiled without data. recipe: resolved, as its run's folder has it; None of ``qrecipe.compile``."""

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
                "format": 1,
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
        """Raises: KeyError, TypeError, ValueError: it is not what ``text`` writes."""
        data: Mapping[str, Any] = json.loads(text)
        pairs = data["category_to_class"]
        labels = None if pairs is None else LabelMap(dict(pairs), dict(data["names"]), data["classes"])
        batch, height, width = data["fixed"]
        read = read_input(data["input"]), data["scores"], labels, data["mode"], (batch, height, width)
        return Metadata(*read, data.get("recipe"))


def metadata_of(student: Student, mode: ExportMode, fixed: tuple[int | None, int | None, int | None]) -> Metadata:
    return Metadata(student.input, student.family.scores, student.label_map, mode, fixed, student.recipe.resolved)
