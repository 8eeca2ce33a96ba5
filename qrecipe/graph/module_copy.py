"""Copies of a detector: whatever is tried on one, the model itself stays as it was."""

from __future__ import annotations

import copy

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..errors import ModelError


def module_copy(model: nn.Module) -> nn.Module:
    """A deep copy. Tensors that the model has computed and kept, such as an attention map, are copied as values.

    Raises:
        ModelError: the model holds something that cannot be copied.
    """
    memo: dict[int, Tensor] = {}
    for part in model.modules():
        for leaf in pytree.tree_leaves([*vars(part).values(), *part._buffers.values()]):
            if isinstance(leaf, Tensor) and not leaf.is_leaf:
                memo[id(leaf)] = leaf.detach().clone()
    try:
        return copy.deepcopy(model, memo)
    except Exception as error:  # whatever the model holds, and whatever its __deepcopy__ does
        raise ModelError(
            f"it cannot be copied: {type(error).__name__}: {error}",
            where=type(model).__name__,
            remedy="a detector is tried and changed on copies: let it hold no locks, files, generators or open handles",
        ) from error
