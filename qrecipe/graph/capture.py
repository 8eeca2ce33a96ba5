"""Captures a detector as two editable FX graphs, training and evaluation, over one copy of its parameters."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import CaptureError
from .clean import WRAPPER, clean
from .face import STRUCTURES, Face, Structure
from .shims import symbolic_sizes

Call = Callable[[nn.Module, dict[str, Tensor]], tuple[Any, dict[str, Tensor]]]
"""Calls a detector: ``(outputs as the model gives them, extra training outputs)``."""


@dataclass
class Captured:
    """What a capture yields and the passes edit: a module tree and the graphs that name its parts.

    root: a copy of the model; the model itself is left as it was.
    faces: both structures; passes edit them in place.
    inputs: the keyword inputs, in order.
    """

    root: nn.Module
    faces: dict[Structure, Face]
    inputs: tuple[str, ...]

    def copy(self) -> Captured:
        return Captured(copy.deepcopy(self.root), {key: face.copy() for key, face in self.faces.items()}, self.inputs)


class _Wrapper(nn.Module):
    def __init__(self, model: nn.Module, call: Call) -> None:
        super().__init__()
        self.add_module(WRAPPER, model)
        self._call = call

    def forward(self, inputs: dict[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
        return self._call(self.get_submodule(WRAPPER), inputs)


ADDED = ("constants", "dropouts", "fake_quantizers", "alignments")
"""Names under which parts are added to a captured model, now or by a pass."""


def capture(model: nn.Module, call: Call, example: Mapping[str, Tensor]) -> Captured:
    """Capture ``model`` in both modes, with dynamic batch, height and width.

    Args:
        model: the detector; it is not changed.
        call: how it is called with a dict of inputs.
        example: keyword inputs; images (batch, 3, height, width), masks (batch, height, width). The batch must be
            at least 2: a size of 1 would be taken for a constant.

    Raises:
        CaptureError: the model could not be captured (the message holds torch's own reason), or has a part under a
            name that is needed.
    """
    taken = [name for name in ADDED if hasattr(model, name)]
    if taken:
        raise CaptureError(
            f"the model has parts named {', '.join(taken)}, under which a capture adds its own",
            where=type(model).__name__,
            remedy="rename them in the model",
        )
    root = copy.deepcopy(model)
    faces: dict[Structure, Face] = {}
    for structure in STRUCTURES:
        root.train(structure == "train")
        with _quiet():
            program = _export(root, call, example)
        module = program.module()
        codegen: Any = module.graph._codegen
        spec = codegen.pytree_info.out_spec
        for node, name in zip(
            [node for node in module.graph.nodes if node.op == "placeholder"], sorted(example), strict=True
        ):
            node.target = name
            node._rename(name)
        faces[structure] = Face(structure, clean(module, root, structure), spec)
        faces[structure].lint(root)
    root.train(model.training)
    return Captured(root, faces, tuple(sorted(example)))


def _export(root: nn.Module, call: Call, example: Mapping[str, Tensor]) -> torch.export.ExportedProgram:
    dynamic = torch.export.Dim.DYNAMIC
    inputs = {name: example[name] for name in sorted(example)}
    dims: dict[str, dict[int, Any]] = {
        name: {0: dynamic, value.ndim - 2: dynamic, value.ndim - 1: dynamic} for name, value in inputs.items()
    }
    try:
        with symbolic_sizes(root):
            return torch.export.export(_Wrapper(root, call), (inputs,), dynamic_shapes=(dims,), strict=False)
    except Exception as error:  # torch.export lets any error of the model's own code through
        raise CaptureError(
            f"{type(root).__name__} cannot be captured in {'training' if root.training else 'evaluation'} mode: "
            f"{type(error).__name__}: {_first_lines(error)}",
            where=type(root).__name__,
            remedy="a branch or a Python number that depends on a tensor's values or on the image size has to go",
        ) from error


def _first_lines(error: Exception, count: int = 6) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " | ".join(lines[:count])


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what torch.export logs and warns about its own internals."""
    logger = logging.getLogger("torch.export")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
