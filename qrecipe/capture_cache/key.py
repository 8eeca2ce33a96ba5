"""What a capture depends on, as one checksum under which it is kept."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import torch
from torch import Tensor, nn

from .describe import Description, globals_of
from .entry import MAGIC
from .sources import code_of, makers


@dataclass(frozen=True)
class Key:
    """text: the checksum of everything. modules: names of the modules in which the model's code is."""

    text: str
    modules: frozenset[str]
    files: frozenset[str]


def key_of(
    model: nn.Module,
    call: Callable[..., Any],
    inputs: Mapping[str, Tensor],
    code: Iterable[str] = (),
    largest: int | None = None,
) -> Key:
    """The key of a model's capture.

    The values of parameters and buffers are no part of it: a capture sees none of them. Those of other tensors that
    the model holds are, as they become constants of the graphs.

    Args:
        call: calls the model with inputs. inputs: those that it is captured with; only their form counts.
        code: names of further modules on which the model depends, as that of its factory.
        largest: as of ``capture``, which may refuse beyond it.

    Raises:
        Unkeepable: something that it depends on cannot be told.
    """
    described = Description()
    described.add(model)
    described.add(call)
    modules = frozenset(described.modules | set(code))
    found, files, versions = code_of(modules)
    parts = {
        "format": MAGIC.decode(),
        "model and call": described.checksum(),
        "inputs": [
            [name, str(one.dtype), list(one.shape), list(one.stride()), str(one.device)]
            for name, one in sorted(inputs.items())
        ],
        "largest": largest,
        "files": files,
        "globals": globals_of(found),
        "packages": versions,
        "makers": makers(),
        "versions": _versions(),
        "switches": _switches(),
    }
    return Key(hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest(), modules, frozenset(files))


def _versions() -> list[str]:
    transformers = metadata.version("transformers")  # whether it is loaded yet or not
    package = sys.modules[__name__.partition(".")[0]]
    known = (torch.__version__, torch.version.git_version, transformers, getattr(package, "__version__", ""))
    return [sys.version, platform.system(), platform.machine(), *map(str, known)]


def _switches() -> list[str]:
    """Torch's global switches that change which operators a model runs."""
    return [
        str(value)
        for value in (
            torch.get_default_dtype(),
            torch.get_default_device(),
            torch.are_deterministic_algorithms_enabled(),
            torch.backends.mha.get_fastpath_enabled(),
        )
    ]
