"""A run that takes seconds, and commands called as a shell would."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from qrecipe.cli import main
from qrecipe.run.folder import RunFolder

TINY: dict[str, Any] = {
    "version": 1,
    "model": {
        "architecture": "demo",
        "config": {"width": 16, "queries": 5, "decoder_layers": 1, "heads": 2},
        "input": {"size": 64},
    },
    "quantize": {
        "weight": {"bits": 4, "quantizer": "lsq", "per": "channel"},
        "activation": {"bits": 4, "quantizer": "lsq+", "per": "tensor", "init": "minmax"},
        "attention": {"bits": 8, "quantizer": "lsq+", "per": "head", "init": "minmax"},
        "rules": [{"match": "role:backbone.stem", "keep": "float"}, {"match": "role:head", "keep": "float"}],
        "calibration": {"batches": 1, "batch_size": 4},
    },
    "distill": {
        "align": [{"at": "decoder.cross_attention.query", "per": "query"}],  # heads of 8 channels are warned of
        "targets": [{"at": "decoder.cross_attention.output", "layers": "last", "weight": 2.5}],
    },
    "train": {"epochs": 2, "batch_size": 8, "control": True, "optimizer": {"lr": 1.0e-3}},
    "data": {"format": "synthetic", "synthetic": {"train": 16, "val": 8, "test": 8, "size": 64, "seed": 0}},
}
"""4-4-8 with alignment and a distillation target, and a control."""


def recipe(path: Path, **changes: Mapping[str, Any] | None) -> Path:
    """Write TINY, whole sections changed or (None) left out."""
    data = {key: value for key, value in {**TINY, **changes}.items() if value is not None}
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


@dataclass(frozen=True)
class Answer:
    """Exit code, standard output and standard error."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one error that was said, without a traceback."""
        assert self.code == 2, self
        assert "Traceback" not in self.out + self.err
        assert self.err.startswith("error: "), self.err
        assert self.err.count("error: ") == 1, self.err
        return self.err.removeprefix("error: ").rstrip("\n")

    @property
    def fine(self) -> str:
        """The standard output of a command that went through and complained of nothing."""
        assert (self.code, self.err) == (0, ""), self
        return self.out


def qrecipe(*words: object) -> Answer:
    """Call a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(word) for word in words])
        except SystemExit as stop:  # argparse
            code = int(stop.code or 0)
    return Answer(code, out.getvalue(), err.getvalue())


class Started(subprocess.Popen[str]):
    """A process that does not outlive a test that fails: leaving the context waits for its end."""

    def __exit__(self, kind: type[BaseException] | None, *about: Any) -> None:
        if kind is not None:
            self.kill()
        super().__exit__(kind, *about)


def start(*words: object) -> subprocess.Popen[str]:
    """Call a command in a process of its own, as somebody at a terminal would."""
    return Started(
        [sys.executable, "-m", "qrecipe", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"},
    )


@dataclass(frozen=True)
class Finished:
    """A run that went through: its recipe, its folder, and what it printed."""

    recipe: Path
    folder: Path
    out: str

    @property
    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "summary.json").read_text())
        return found

    @property
    def phases(self) -> dict[str, Any]:
        return RunFolder.read(self.folder).phases()
