"""What modules return while a detector runs, for what its own output does not hold."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy
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


@contextmanager
def same_random_numbers() -> Iterator[None]:
    """Python's and numpy's random numbers go on afterwards as if nothing had been drawn."""
    python, own = random.getstate(), numpy.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        numpy.random.set_state(own)


@contextmanager
def repeated_calls(model: nn.Module) -> Iterator[list[str]]:
    """A list that on leaving holds a sentence for each layer with attention that was called several times inside.

    Of such layers within each other only the outermost is named.
    """
    attentive = {
        name: part
        for name, part in model.named_modules()
        if name and any("att" in type(inner).__name__.lower() for inner in part.modules())
    }
    calls: Counter[str] = Counter()
    hooks = [part.register_forward_hook(lambda *_, name=name: calls.update([name])) for name, part in attentive.items()]
    notes: list[str] = []
    try:
        yield notes
    finally:
        for handle in hooks:
            handle.remove()
    repeated = [name for name, count in calls.items() if count > 1]
    for name in sorted(repeated):
        if not any(name.startswith(f"{other}.") for other in repeated):
            notes.append(
                f"{name} is called {calls[name]} times in a forward: its weights have one quantizer, its activations "
                "one for each call; a decoder layer so shared counts as one: the query and feature of its "
                "first call are aligned and tapped, and the output of its last"
            )
