"""What tests of exported files have at hand."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from qrecipe.student import Student


@dataclass
class Files:
    student: Student
    paths: dict[str, Path]
    said: dict[str, str]
    told: dict[str, Any]

    def model(self, mode: str) -> Any:
        import onnx

        return onnx.load(self.paths[mode])

    def outputs(self, mode: str, pixels: torch.Tensor, *, optimised: bool) -> tuple[Any, Any]:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.log_severity_level = 3
        levels = ort.GraphOptimizationLevel
        options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimised else levels.ORT_DISABLE_ALL
        session = ort.InferenceSession(str(self.paths[mode]), options, providers=["CPUExecutionProvider"])
        logits, boxes = session.run(["logits", "boxes"], {"pixel_values": pixels.numpy()})
        return logits, boxes


@contextmanager
def translated_once() -> Iterator[None]:
    """torch's exporter takes most of an export's time: what it gives for the one mode serves the other."""
    from qrecipe.deploy import translate

    own, kept = translate.translate, []

    def once(*arguments: Any) -> Any:
        if not kept:
            kept.append(own(*arguments))
        return copy.deepcopy(kept[0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(translate, "translate", once)
        yield
