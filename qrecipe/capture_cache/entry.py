"""A capture as bytes that vouch for themselves, without its parameters and without pickles."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..graph.captured import Captured
from ..graph.dropout import add_dropout
from ..graph.module_copy import module_copy
from ..graph.program import MODES
from ..vocabulary import ADDED, CONSTANTS, DROPOUTS
from .plain import Unkeepable
from .programs import program_from_plain, program_to_plain

MAGIC = b"qrecipe capture 1\n"
"""Its number rises whenever what is written changes."""
_CHECKSUM = hashlib.sha256().digest_size


class DamagedEntry(Exception):  # noqa: N818 - no error: what is damaged is made anew
    """What is wrong with an entry."""


@dataclass(frozen=True)
class Entry:
    """key: of what it was made. files: sha256 of files beside those in the key, by path. data: the capture, plain."""

    key: str
    files: Mapping[str, str]
    data: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        """A line that says what it is, a checksum of all that follows, and compressed JSON."""
        body = zlib.compress(json.dumps([self.key, dict(self.files), dict(self.data)]).encode(), 6)
        return MAGIC + hashlib.sha256(body).digest() + body

    @staticmethod
    def from_bytes(data: bytes) -> Entry:
        """Raises: DamagedEntry: it is not what was written, or none of this version."""
        body = data[len(MAGIC) + _CHECKSUM :]
        if not data.startswith(MAGIC):
            raise DamagedEntry("it is no capture of this version")
        if hashlib.sha256(body).digest() != data[len(MAGIC) : len(MAGIC) + _CHECKSUM]:
            raise DamagedEntry("it is not what was written")
        try:
            return Entry(*json.loads(zlib.decompress(body)))
        except (zlib.error, ValueError, TypeError, RecursionError) as error:
            raise DamagedEntry("it cannot be read") from error


def capture_to_plain(captured: Captured) -> dict[str, Any]:
    """All but the parameters and buffers of the model. Raises: Unkeepable: something in it is not known here."""
    return {
        "inputs": list(captured.inputs),
        "warnings": list(captured.warnings),
        "training": captured.training,
        "added": [[name, _part_to_plain(part)] for name, part in captured.root.named_children() if name in ADDED],
        "programs": {mode: program_to_plain(program) for mode, program in captured.programs.items()},
    }


def capture_from_plain(data: Mapping[str, Any], model: nn.Module) -> Captured:
    """The capture over a copy of the model that it is one of.

    Raises:
        DamagedEntry: it is not what ``capture_to_plain`` writes, or of another model.
    """
    root = module_copy(model)
    try:
        for name, content in data["added"]:
            _add_part(root, name, content)
        programs = {mode: program_from_plain(data["programs"][mode], mode) for mode in MODES}
        for program in programs.values():
            program.lint(root)
        root.train(model.training)
        return Captured(root, programs, tuple(data["inputs"]), tuple(data["warnings"]), data["training"])
    except Exception as error:  # whatever a foreign one has in it
        raise DamagedEntry(f"it cannot be read: {type(error).__name__}: {error}") from error


def _part_to_plain(part: nn.Module) -> Any:
    if isinstance(part, nn.ModuleList) and all(type(one) is nn.Dropout for one in part):
        return [one.p for one in part]
    tensors = dict(part.named_buffers(remove_duplicate=False))
    if any(True for _ in part.parameters()) or any(type(one) is not Tensor for one in tensors.values()):
        raise Unkeepable("its constants are no plain tensors")
    first: dict[int, str] = {}  # both modes may read one tensor
    return [
        [name, first[id(value)]] if first.setdefault(id(value), name) != name else [name, *_tensor_to_plain(value)]
        for name, value in tensors.items()
    ]


def _add_part(root: nn.Module, name: str, content: Any) -> None:
    if name == DROPOUTS:
        for probability in content:
            add_dropout(root, probability)
    elif name == CONSTANTS:
        constants = nn.Module()
        root.add_module(CONSTANTS, constants)
        for own, *value in content:
            tensor = _tensor_from_plain(*value) if len(value) > 1 else constants.get_buffer(value[0])
            constants.register_buffer(own, tensor, persistent=False)
    else:
        raise ValueError(f"no capture adds {name}")


def _tensor_to_plain(value: Tensor) -> list[Any]:
    plain = value.detach()
    if plain.is_sparse or plain.is_quantized or plain.is_meta:
        raise Unkeepable("its constants are no plain tensors")
    raw = plain.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    return [str(value.dtype), list(value.shape), str(value.device), base64.b64encode(raw).decode()]


def _tensor_from_plain(dtype: str, shape: list[int], device: str, text: str) -> Tensor:
    kind = getattr(torch, dtype.removeprefix("torch."))
    raw = bytearray(base64.b64decode(text, validate=True))
    flat = torch.frombuffer(raw, dtype=kind) if raw else torch.empty(0, dtype=kind)
    return flat.reshape(shape).to(device)
