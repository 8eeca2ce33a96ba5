"""A state_dict as safetensors can hold it, and whether one fits a model."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ..errors import TrainError


def split_tied(state: Mapping[str, Tensor], where: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors to store, on the CPU and without shared memory, and ``{tied name: the name that is stored}``.

    Raises:
        TrainError: a value is no tensor.
    """
    stored: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    seen: dict[object, str] = {}
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise TrainError(f"the state {name} is a {type(value).__name__} and no tensor", where=where)
        same = (value.device, value.dtype, value.data_ptr(), value.shape, value.stride())
        if value.numel() and same in seen:
            tied[name] = seen[same]
            continue
        seen[same] = name
        # A view would bring the whole storage, and two views of one storage are refused.
        stored[name] = value.detach().cpu().clone().contiguous()
    return stored, tied


def join_tied(stored: Mapping[str, Tensor], tied: Mapping[str, str]) -> dict[str, Tensor]:
    """The whole state_dict again.

    Raises:
        TrainError: a tied name points to nothing.
    """
    lost = [name for name, source in tied.items() if source not in stored]
    if lost:
        raise TrainError(f"the checkpoint is damaged: tied weights point to nothing: {', '.join(lost)}")
    return {**stored, **{name: stored[source] for name, source in tied.items()}}


def fit_problems(model: Mapping[str, Tensor], weights: Mapping[str, Tensor], shown: int = 10) -> list[str]:
    """What keeps ``weights`` from being the model's state_dict, a line each, ``shown`` of a kind. Empty if it fits."""
    missing = [name for name in model if name not in weights]
    unexpected = [name for name in weights if name not in model]
    other = [
        f"{name}: {_form(weights[name])} in the checkpoint, {_form(model[name])} in the model"
        for name in model
        if name in weights and _form(model[name]) != _form(weights[name])
    ]
    lines: list[str] = []
    for title, names in (("missing", missing), ("unexpected", unexpected), ("other form", other)):
        lines += [f"{title}: {name}" for name in names[:shown]]
        if len(names) > shown:
            lines.append(f"{title}: and {len(names) - shown} more")
    return lines


def _form(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
