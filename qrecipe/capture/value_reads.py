"""Watches a model while it is captured: where Python reads a tensor's values, and where a size becomes a number."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..graph.inputs import like_images
from ..user_line import Line, deepest_line, steps_from

READS: dict[Any, str] = {
    Tensor.__bool__: "branch",
    Tensor.__contains__: "branch",
    Tensor.is_nonzero: "branch",
    torch.is_nonzero: "branch",
    torch.equal: "equal",
    Tensor.equal: "equal",
    torch.allclose: "equal",
    Tensor.allclose: "equal",
    Tensor.item: "item",
    Tensor.__int__: "item",
    Tensor.__float__: "item",
    Tensor.__index__: "item",
    Tensor.tolist: "tolist",
    Tensor.numpy: "numpy",
    Tensor.__array__: "numpy",
    Tensor.nonzero: "varying",
    torch.nonzero: "varying",
    torch.masked_select: "varying",
    Tensor.masked_select: "varying",
    torch.unique: "varying",
    Tensor.unique: "varying",
    Tensor.__iter__: "varying",
    Tensor.unbind: "varying",
    torch.unbind: "varying",
    Tensor.__getitem__: "varying",
}
"""Calls of torch that turn a tensor's values, or an unknown number of them, into Python's; and as which kind."""


class Watch(TorchFunctionMode):
    """Remembers the last such call, the first line at which each dynamic size was a plain number, and where gradients
    were switched off for good.

    Args:
        root: the model, to name its parts.
    """

    def __init__(self, root: nn.Module) -> None:
        super().__init__()
        self.root = root
        self.last_read: tuple[str, Line] | None = None
        self.frozen: dict[str, tuple[str, Line | None]] = {}
        self.left_off: Line | None = None
        self._switch: Line | None = None
        self._sizes: dict[str, Any] = {}

    def follow(self, inputs: Mapping[str, Tensor]) -> None:
        """Watch the sizes of these inputs of the capture."""
        for name, value in like_images(inputs).items():
            for size, dim in (("batch", 0), ("height", value.ndim - 2), ("width", value.ndim - 1)):
                extent: Any = value.shape[dim]
                if isinstance(extent, torch.SymInt):
                    self._sizes.setdefault(size, (name, extent))

    def note_end(self) -> None:
        """The model's forward is over: whether it leaves gradients switched off, and since which line."""
        self.left_off = None if torch.is_grad_enabled() else self._switch

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kind = READS.get(func)
        if kind is not None and (func is not Tensor.__getitem__ or _by_mask(args)):
            self._note(kind, self._line())
        if func is torch._C._set_grad_enabled:
            self._switch = self._line()
        result = func(*args, **(kwargs or {}))
        for size, (_, extent) in self._sizes.items():
            if size not in self.frozen and extent.node.expr.is_number:
                line = self._line()
                read = self.last_read
                self.frozen[size] = (read[0] if read is not None and read[1] == line else "size", line)
        return result

    def _note(self, kind: str, line: Line | None) -> None:
        if line is None:
            return
        # A fake tensor's tolist() is written in Python, and iterates: what the user wrote is the outer call.
        if kind in ("varying", "item") and ".tolist(" in line.text:
            kind = "tolist"
        self.last_read = (kind, line)

    def _line(self) -> Line | None:
        return deepest_line(steps_from(sys._getframe(1)), self.root)


def _by_mask(args: Sequence[Any]) -> bool:
    index = args[1] if len(args) > 1 else None
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, Tensor) and part.dtype in (torch.bool, torch.uint8) for part in parts)
