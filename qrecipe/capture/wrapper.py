"""The module that a capture puts around a model, and the names without it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

Call = Callable[[nn.Module, dict[str, Tensor]], tuple[Any, dict[str, Tensor]]]
"""Calls a detector: ``(outputs as the model gives them, extra training outputs)``."""

WRAPPER = "detector"
"""The attribute under which the model is wrapped: its prefix is taken off every name."""


class Wrapper(nn.Module):
    """The model as one function of a dict. Dynamo follows it too, so that it does nothing else."""

    def __init__(self, model: nn.Module, call: Call) -> None:
        super().__init__()
        self.add_module(WRAPPER, model)
        self._call = call

    def forward(self, inputs: dict[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
        return self._call(self.get_submodule(WRAPPER), inputs)


def own_name(name: str) -> str:
    """A path in the wrapped model as the model itself has it."""
    return "" if name == WRAPPER else name.removeprefix(f"{WRAPPER}.")
