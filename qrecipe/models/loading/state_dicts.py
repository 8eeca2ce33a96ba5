"""Filling a module from named tensors: strictly, but for a class head of another size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from ...errors import ModelError

IsHead = Callable[[str, Sequence[int], Sequence[int]], bool]
Mismatch = tuple[str, Sequence[int], Sequence[int]]
SHOWN = 10
REAL = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""What the values of a real-valued model are stored in; eight bits need a scale, which no tensor has."""


def fill(model: nn.Module, state: Mapping[str, Tensor], is_head: IsHead) -> list[Mismatch]:
    """Copy the tensors in, and return (key, own shape, stored shape) of the head tensors that were left as they were.

    A tensor that is tied to another may be absent, as safetensors files store it once. A
    ``num_batches_tracked`` too few or too many counts for nothing, and is passed over.

    Raises:
        ModelError: integers for real values, missing keys, unexpected keys, or shapes that differ outside a head.
    """
    own = model.state_dict(keep_vars=True)
    check_types(own, state)
    stored_ids = {id(own[key]) for key in state if key in own}
    missing = [key for key, value in own.items() if key not in state and id(value) not in stored_ids]
    unexpected = [key for key in state if key not in own]
    differing: list[Mismatch] = [
        (key, tuple(own[key].shape), tuple(value.shape))
        for key, value in state.items()
        if key in own and own[key].shape != value.shape
    ]
    check_keys(missing, unexpected, differing, is_head)
    check_tied(own, state)
    left = {key for key, _, _ in differing}
    model.load_state_dict({key: value for key, value in state.items() if key not in left}, strict=False)
    return differing


def restore_tied(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy stored tensors of tied parameters in again.

    A file holds a shared tensor once, under any of its names. transformers ties after loading and keeps what stands
    under the first name, which it may just have initialised: DEIMv2's shared box head came back random.
    """
    own = model.state_dict(keep_vars=True)
    names = Counter(id(value) for value in own.values())
    with torch.no_grad():
        for key, value in state.items():
            if key in own and names[id(own[key])] > 1 and own[key].shape == value.shape:
                own[key].copy_(value)


def check_tied(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Refuse several stored tensors for one of the model's, where they differ: one of them would be taken.

    Raises:
        ModelError: lists the first ten pairs.
    """
    first: dict[int, str] = {}
    wrong = []
    for key in state:
        if key in own and own[key].shape == state[key].shape:  # a head of another size is not taken
            other = first.setdefault(id(own[key]), key)
            if not torch.equal(state[other], state[key]):
                wrong.append(f"{other} and {key}")
    if wrong:
        raise ModelError(
            f"the weights do not fit the model: {len(wrong)} tensors are one in the model and differ in the file: "
            f"{_some(wrong)}",
            remedy="build the model without sharing them, as the one that the weights are of",
        )


def check_types(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Refuse stored values that are integers, or of eight bits, where the model's are real.

    Raises:
        ModelError: lists the first ten of them.
    """
    wrong = [
        f"{key} ({str(value.dtype).removeprefix('torch.')})"
        for key, value in state.items()
        if key in own and own[key].is_floating_point() and value.dtype not in REAL
    ]
    if wrong:
        raise ModelError(
            f"the weights are quantized already: {len(wrong)} tensors of the file hold no real values: {_some(wrong)}",
            remedy="take the real-valued weights: qrecipe quantizes them itself",
        )


def check_keys(
    missing: Iterable[str], unexpected: Iterable[str], differing: Iterable[Mismatch], is_head: IsHead
) -> None:
    """Refuse weights that do not fit.

    Raises:
        ModelError: lists the first ten of each kind.
    """
    problems = []
    missing = sorted(key for key in missing if not key.endswith("num_batches_tracked"))
    if missing:
        problems.append(f"missing: {_some(missing)}")
    unexpected = sorted(key for key in unexpected if not key.endswith("num_batches_tracked"))
    if unexpected:
        problems.append(f"unexpected: {_some(unexpected)}")
    wrong = sorted(mismatch for mismatch in differing if not is_head(*mismatch))
    if wrong:
        problems.append(f"of another shape: {_some([_shapes(mismatch) for mismatch in wrong])}")
    if problems:
        raise ModelError(
            f"the weights do not fit the model; {'; '.join(problems)}",
            remedy="the architecture and its config must be the ones that the weights were made with",
        )


def reinitialised(differing: Sequence[Mismatch]) -> str:
    """What is said of a head that starts afresh: every key, with the stored and the new shape."""
    return "re-initialised, as the stored class head has another size: " + ", ".join(
        _shapes(mismatch) for mismatch in sorted(differing)
    )


def _shapes(mismatch: Mismatch) -> str:
    key, own, stored = mismatch
    return f"{key} {tuple(stored)} -> {tuple(own)}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
