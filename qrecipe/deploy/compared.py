"""A student in both modes and its real-valued network as ONNX files of one size: what a comparison runs."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..run.files import write_atomically
from ..runtimes import need
from ..student import Student
from .lower import Lowered, lower
from .metadata import KEY, metadata_of
from .mode import EXPORT_MODES, ExportMode

Size = tuple[int, int, int]
"""Batch, height, width."""


@dataclass(frozen=True)
class ComparedFiles:
    """real: the network without quantizers and alignments, BatchNorm folded; lowered: the same in torch."""

    real: Path
    lowered: Lowered
    own: dict[ExportMode, Path]


def export_compared(student: Student, folder: Path, size: Size) -> ComparedFiles:
    """Write the files into a folder. Integers and packed integers are put into one translated graph.

    Raises:
        ExportError: an operator or operand that a file cannot express, or ``qrecipe[onnx]`` is not installed.
    """
    need("onnx", "onnxscript")
    off = copy.deepcopy(student)
    off.switch_off()
    real = lower(off)
    _write(_translated(real, size), real, "integer", folder / "float.onnx")
    lowered = lower(student)
    model = _translated(lowered, size)
    own = {}
    for mode in EXPORT_MODES:
        said = metadata_of(student, mode, size).text()
        own[mode] = _write(copy.deepcopy(model), lowered, mode, folder / f"{mode}.onnx", said)
    return ComparedFiles(folder / "float.onnx", real, own)


def _translated(lowered: Lowered, size: Size) -> Any:
    from .translate import translate

    return translate(lowered, size, (False, False, False))


def _write(model: Any, lowered: Lowered, mode: ExportMode, path: Path, said: str | None = None) -> Path:
    from .integers import put_integers
    from .pools import quantize_before_pools
    from .prune import prune
    from .repeated import store_once

    put_integers(model, lowered.operands, mode)
    quantize_before_pools(model)
    prune(model)
    if said is not None:  # another program's file is as anybody would write it
        store_once(model)
        entry = model.metadata_props.add()
        entry.key, entry.value = KEY, said
    write_atomically(path, model.SerializeToString())
    return path
