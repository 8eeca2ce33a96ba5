"""The C++ kernels, compiled once on a machine and kept, and whether they can be had at all."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from ...cache_folder import default_cache
from .compiled import log_fallback

SOURCE = Path(__file__).with_name("fake_quantize.cpp")
# Without -ffast-math, and without contraction to fused multiply-adds: values are the reference's bit for bit.
FLAGS = (
    *("-O3", "-march=native", "-std=c++17", "-fopenmp", "-shared", "-fPIC"),
    *("-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"),
)
_POINTER: list[Any] = [ctypes.c_void_p]
_ENDS: list[Any] = [*[ctypes.c_int64] * 4, ctypes.c_float, ctypes.c_float, ctypes.c_int]
"""How a tensor is cut, the grid's limits, the kind of offset."""


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL | None:
    """The kernels; None, logged once, where they cannot be compiled. Compiling takes a second or two."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        log_fallback("no C++ compiler was found (set CXX, or install g++)")
        return None
    try:
        return _declared(ctypes.CDLL(str(_compiled(compiler))))
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        log_fallback(f"compiling failed: {said.strip().splitlines()[0] if said.strip() else error!r}")
        return None


def _declared(kernels: ctypes.CDLL) -> ctypes.CDLL:
    kernels.fake_quantize_forward.argtypes = [*_POINTER * 4, *_ENDS, ctypes.c_int]
    kernels.fake_quantize_backward.argtypes = [*_POINTER * 8, *_ENDS, ctypes.c_float, ctypes.c_int]
    kernels.fake_quantize_forward.restype = kernels.fake_quantize_backward.restype = None
    return kernels


def _compiled(compiler: str) -> Path:
    """The library's file, compiled unless it is there. Several processes may do this at once."""
    key = hashlib.sha256(b"\0".join((SOURCE.read_bytes(), " ".join(FLAGS).encode(), compiler.encode(), _machine())))
    name = f"fake_quantize_{key.hexdigest()[:16]}.so"
    folder = default_cache() / "kernels"
    if (folder / name).exists():
        return folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=folder))
    except OSError:  # a home that cannot be written: compiled for this process alone
        folder = part = Path(tempfile.mkdtemp())
    try:
        command = [compiler, *FLAGS, str(SOURCE), "-o", str(part / "made")]
        subprocess.run(command, check=True, capture_output=True, text=True)
        return (part / "made").rename(folder / name)
    finally:
        if part != folder:
            shutil.rmtree(part, ignore_errors=True)


def _machine() -> bytes:
    """What -march=native means here: a home may be shared by machines with other processors."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        found = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        found = ""
    return f"{platform.machine()} {platform.processor()} {torch.backends.cpu.get_cpu_capability()} {found}".encode()
