"""What a run ran on, for ``environment.json``."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from ..launched import processes

PACKAGES = (
    "qrecipe",
    "torch",
    "numpy",
    "pyyaml",
    "jsonschema",
    "pycocotools",
    "scipy",
    "rich",
    "pillow",
    "safetensors",
    "transformers",
    "accelerate",
)


def describe_environment() -> dict[str, Any]:
    """Versions, machine, threads, command line and the checkout's revision, as JSON can hold them."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": list(sys.argv),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": package_versions(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processes": processes(),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "revision": revision_of(Path(__file__).resolve().parents[2]),
    }


def code_versions() -> dict[str, str | None]:
    """What a measurement is made by: the code of qrecipe, and the versions of what it computes with."""
    packages = ("torch", "transformers", "numpy", "scipy", "pillow")
    return {**{f"version of {name}": _version(name) for name in packages}, "code of qrecipe": _code()}


def _code() -> str:
    """A checksum of the package's files, whether they are a checkout's or installed."""
    package = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for file in sorted(one for ending in ("*.py", "*.cpp") for one in package.rglob(ending)):
        digest.update(f"{file.relative_to(package)}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()


def package_versions() -> dict[str, str | None]:
    """Installed version per package; None where there is none."""
    return {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def revision_of(checkout: Path) -> str | None:
    """The commit that is checked out, with ``-dirty`` for changed files; None outside a checkout or without git."""
    if not (checkout / ".git").exists():  # else an enclosing repository would answer for an installed package
        return None
    try:
        answer = subprocess.run(
            ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None
