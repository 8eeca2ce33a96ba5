"""A student in every program that is installed, beside its float self and other programs' quantization of that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from ..deploy.compared import export_compared
from ..deploy.lower import Lowered
from ..errors import ExportError, QRecipeError
from ..plain_text import one_line
from ..planning import cost_of
from ..runtimes import RUNTIMES, Session, find_runtime
from ..runtimes.runtime import Array
from ..student import Student
from .machine import Machine, this_machine
from .peers import INPUT, nncf_int8, static_qdq
from .result import Benched, Left, Row
from .timing import interleaved

STATIC, NNCF = "static QDQ", "NNCF int8"
"""What ONNX Runtime's own tool makes, and what NNCF makes."""
SHORT = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
WITH_BF16 = "openvino"
BF16 = {"INFERENCE_PRECISION_HINT": "bf16"}


@dataclass(frozen=True)
class BenchSettings:
    """threads: of each program, for one operator. rounds: calls of each that are timed. peers: other programs'
    quantization too. folder: where files are written."""

    folder: Path
    threads: int = 1
    rounds: int = 20
    peers: bool = True


@dataclass(frozen=True)
class _Contender:
    network: str
    program: str
    size: int
    call: Callable[[], object]
    integer: int | None


@dataclass
class _Table:
    """Contenders as they are made ready; what fails to be is left out with its reason."""

    settings: BenchSettings
    pixels: Array
    machine: Machine
    ready: list[_Contender] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)

    def open(self, network: str, runtime: str, file: Path, *, bf16: bool = False) -> None:
        program = SHORT.get(runtime, runtime) + (" bf16" if bf16 else "")
        settings = BF16 if bf16 else None
        try:
            session = find_runtime(runtime).open(file, threads=self.settings.threads, settings=settings)
            arrays = {INPUT: self.pixels}
            session.run(arrays)
        except ExportError as error:
            self.left.append(Left(f"{network} in {program}", str(error)))
            return
        size = sum(own.stat().st_size for own in {file, file.with_suffix(".bin")} if own.exists())
        self.ready.append(_Contender(network, program, size, lambda: session.run(arrays), _integers(session)))

    def everywhere(self, network: str, file: Path) -> None:
        for runtime in RUNTIMES:
            self.open(network, runtime, file)
        if self.machine.bf16 and self.ready and self.ready[-1].program == SHORT[WITH_BF16]:
            self.open(network, WITH_BF16, file, bf16=True)

    def made(self, name: str, make: Callable[[], Path]) -> Path | None:
        """A file of another program; None where it is not installed or fails, which then is said."""
        try:
            return make()
        except QRecipeError as error:
            self.left.append(Left(name, str(error)))
        except Exception as error:  # another program's own fault
            self.left.append(Left(name, f"it fails: {one_line(error, 200)}"))
        return None


@torch.no_grad()
def compare(
    student: Student,
    pixels: Array,
    images: Sequence[Array],
    settings: BenchSettings,
    *,
    title: str,
    calibration: str,
) -> Benched:
    """Measure a calibrated student.

    Args:
        pixels: what is timed, float32, (batch, 3, height, width); the files are fixed to that size.
        images: what other programs are calibrated on, each of ``pixels``' shape. calibration: says what they are.

    Raises: ExportError: it cannot be exported.
    """
    batch, _, height, width = pixels.shape
    machine = this_machine()
    table = _Table(settings, pixels, machine)
    files = export_compared(student, settings.folder, (batch, height, width))
    _torch(table, files.lowered)
    table.everywhere("float", files.real)
    if settings.peers:
        _peers(table, files.real, images)
    for mode, own in files.own.items():
        table.everywhere(f"ours, {mode}", own)
    macs = cost_of(student.plan).macs
    return _benched(table, title, macs, calibration if settings.peers else None)


def _peers(table: _Table, real: Path, images: Sequence[Array]) -> None:
    folder = table.settings.folder
    made = table.made(STATIC, lambda: static_qdq(real, folder, images))
    if made is not None:
        table.open(STATIC, "onnxruntime", made)
    made = table.made(NNCF, lambda: nncf_int8(real, folder, images))
    if made is not None:
        table.open(NNCF, WITH_BF16, made)
        if table.machine.bf16:
            table.open(NNCF, WITH_BF16, made, bf16=True)


def compare_file(file: Path, pixels: Array, settings: BenchSettings) -> Benched:
    """Measure one ONNX file. Raises: ExportError: no runtime runs it."""
    table = _Table(settings, pixels, this_machine())
    table.everywhere(file.name, file)
    if not table.ready:
        raise ExportError(table.left[0].reason, where=str(file))
    return _benched(table, file.name, None, None)


def _torch(table: _Table, lowered: Lowered) -> None:
    value = torch.from_numpy(np.array(table.pixels))
    module = lowered.module
    held = (*module.parameters(), *module.buffers())  # what was folded are buffers
    size = sum(one.numel() * one.element_size() for one in held)

    def call() -> object:
        before = torch.get_num_threads()
        torch.set_num_threads(table.settings.threads)
        try:
            return module(value)
        finally:
            torch.set_num_threads(before)

    table.ready.append(_Contender("float", "PyTorch", size, call, None))


def _benched(table: _Table, title: str, macs: int | None, calibration: str | None) -> Benched:
    found = interleaved([one.call for one in table.ready], table.settings.rounds)
    rows = [
        Row(one.network, one.program, one.size, latency, one.integer)
        for one, latency in zip(table.ready, found, strict=True)
    ]
    programs = {"torch": str(torch.__version__)}
    for runtime in RUNTIMES.values():
        with suppress(ExportError):
            programs[runtime.name] = runtime.version()
    return Benched(
        title,
        tuple(table.pixels.shape),
        table.settings.threads,
        table.settings.rounds,
        macs,
        calibration,
        table.machine,
        programs,
        tuple(rows),
        tuple(table.left),
    )


def _integers(session: Session) -> int | None:
    operators = session.operators()
    return None if operators is None else sum(one.integer for one in operators)
