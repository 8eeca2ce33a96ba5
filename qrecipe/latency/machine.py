"""What a latency was measured on."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FLAGS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimddp", "i8mm", "bf16")
"""Of a processor: what decides which integer and bf16 kernels runtimes have."""
CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Machine:
    """load: processes that wanted to run, averaged over the last minute, before anything was measured."""

    processor: str
    cores: int
    flags: tuple[str, ...]
    load: float | None

    @property
    def bf16(self) -> bool:
        return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(self.flags))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def line(self) -> str:
        load = "" if self.load is None else f"; load {self.load:.1f}"
        return f"{self.processor}, {self.cores} cores, {' '.join(self.flags) or 'flags not known'}{load}"


def this_machine() -> Machine:
    text = CPUINFO.read_text(encoding="utf-8", errors="replace") if CPUINFO.exists() else ""
    said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}
    words = set(said.get("flags", said.get("Features", "")).split())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    name = said.get("model name") or platform.processor() or platform.machine()
    return Machine(name, cores, tuple(flag for flag in FLAGS if flag in words), load)
