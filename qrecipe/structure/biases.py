"""Whether an operation has a bias of the model's own."""

from __future__ import annotations

from torch import fx, nn

from .norms import is_norm
from .operands import OPERATORS, WEIGHTED


def is_biased(root: nn.Module, node: fx.Node) -> bool:
    """Whether a weighted operation adds a bias, or the BatchNorm that alone reads it does."""
    if OPERATORS.get(node.target) not in WEIGHTED:
        return False
    if len(node.args) > 2 and node.args[2] is not None:
        return True
    readers = list(node.users)
    return len(readers) == 1 and is_norm(root, readers[0])
