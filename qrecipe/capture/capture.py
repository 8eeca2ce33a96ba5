"""Captures a detector as two editable FX graphs, training and evaluation, over one copy of its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ..errors import CaptureError
from ..graph.captured import Captured
from ..graph.module_copy import module_copy
from ..graph.program import MODES, GraphMode, Program
from ..vocabulary import ADDED
from .attempt import Attempt, Export, attempt
from .cleaning.clean import clean
from .failure import CaptureFailure, evaluation_only, gradients_left_off, tried_lines
from .wrapper import Call

Exports = dict[GraphMode, Export]


def capture(model: nn.Module, call: Call, example: Mapping[str, Tensor], largest: int | None = None) -> Captured:
    """Capture ``model`` in both modes, with dynamic batch, height and width.

    Each mode is exported with torch.export's own tracer, or, where that fails, with Dynamo's (``strict``). Where only
    the evaluation mode can be captured it serves for both, with a warning.

    Args:
        model: the detector; it is not changed.
        call: how it is called with a dict of inputs.
        example: keyword inputs; images (batch, 3, height, width), masks (batch, height, width), and others that begin
            with the batch. The batch must be at least 2: a size of 1 would be taken for a constant.
        largest: pixels that no side of an image is above; None where any may come. A model that goes another way beyond
            some size is refused where images may be of it.

    Raises:
        CaptureError: the model could not be captured (the message is a screen: the line, the part of the model, what
            was tried, what to change), or has a part under a name that is needed.
    """
    taken = [name for name in ADDED if hasattr(model, name)]
    if taken:
        raise CaptureError(
            f"the model has parts named {', '.join(taken)}, under which a capture adds its own",
            where=type(model).__name__,
            remedy="rename them in the model",
        )
    exports, warnings = _exported(model, call, example, largest)
    root = module_copy(model)
    programs: dict[GraphMode, Program] = {}
    for mode in MODES:
        traced: GraphMode = mode if mode in exports else "eval"
        module = exports[traced].program.module()
        codegen: Any = module.graph._codegen
        spec = codegen.pytree_info.out_spec
        for node, name in zip(
            [node for node in module.graph.nodes if node.op == "placeholder"], sorted(example), strict=True
        ):
            node.target = name
            node._rename(name)
        programs[mode] = Program(mode, clean(module, root, mode, traced), spec)
        programs[mode].lint(root)
    root.train(model.training)
    return Captured(root, programs, tuple(sorted(example)), warnings, "train" in exports)


def _exported(
    model: nn.Module, call: Call, example: Mapping[str, Tensor], largest: int | None
) -> tuple[Exports, tuple[str, ...]]:
    """The exported programs of both modes, or of the evaluation mode alone, with a warning."""
    root = module_copy(model)
    exports: Exports = {}
    failed: list[Attempt] = []
    for mode in MODES:

        def again(training: bool = mode == "train") -> nn.Module:
            return module_copy(model).train(training)

        first = again() if failed else root.train(mode == "train")
        exported, others = attempt(first, again, call, example, largest)
        failed += others
        if exported is not None:
            exports[mode] = exported
        elif mode == "eval":
            told = others if "train" in exports else failed
            raise CaptureFailure(type(model).__name__, told[0].finding, tried_lines(told)) from told[0].error
    name = type(model).__name__
    warnings = [] if "train" in exports else [evaluation_only(name, failed[0].finding)]
    return exports, (*warnings, *gradients_left_off(name, {mode: one.left_off for mode, one in exports.items()}))
