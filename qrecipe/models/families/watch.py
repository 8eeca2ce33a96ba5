"""What modules return while a detector runs, for what its own output does not hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


def first_tensor(output: Any) -> Tensor:
    """A layer's state: transformers' layers return it alone, or first in a tuple."""
    state: Tensor = output if isinstance(output, Tensor) else output[0]
    return state


@contextmanager
def outputs_of(modules: Iterable[nn.Module], keep: Callable[[Any], Any] = first_tensor) -> Iterator[list[Any]]:
    """A list that fills with each call's output, in the order of the calls, while the context is entered.

    Args:
        keep: what is kept of an output. ``torch.clone`` where the model adds to the tensor in place afterwards.
    """
    kept: list[Any] = []

    def hook(_module: nn.Module, _arguments: Any, output: Any) -> None:
        kept.append(keep(output))

    hooks = [module.register_forward_hook(hook) for module in modules]
    try:
        yield kept
    finally:
        for handle in hooks:
            handle.remove()
