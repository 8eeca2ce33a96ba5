"""``qrecipe bench``: what a student, or an exported file, costs in runtimes."""

from __future__ import annotations

import shutil
import tempfile
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..deploy.opened import read_metadata
from ..errors import DataError, ExportError
from ..experiment.events import Listener, Noted, nobody
from ..experiment.target import EXPORTED, Target, find_target
from ..experiment.workspace import Workspace
from ..latency import Benched, BenchSettings, compare, compare_file
from ..run.deployed import keep_bench
from ..run.layout import Which, is_run
from ..runtimes import need
from ..runtimes.runtime import Array
from ..student import Student, plan_size
from ..student.store import load
from ..train.denormals import flushed_denormals
from .kept import kept_in_run

IMAGES = 16
"""That other programs are calibrated on."""


def bench(
    target: Path | str,
    *,
    model: Which | None = None,
    batch: int | None = None,
    size: tuple[int, int] | None = None,
    threads: int = 1,
    rounds: int = 20,
    peers: bool = True,
    images: int = IMAGES,
    keep: Path | str | None = None,
    cache: bool = True,
    listener: Listener = nobody,
) -> Benched:
    """Measure latencies in every runtime that is installed, interleaved in this process.

    Args:
        target: a run folder or a student's folder: measured beside its float self and other programs' quantization of
            it; or one ONNX file.
        model: of a run ``trained`` (default), ``control`` or ``calibrated``.
        batch, size: of the images, (height, width); by default one image, at the size that the student is planned at.
        threads: of each program. rounds: calls of each that are timed. peers: measure other programs' quantization.
        images: how many of the training split other programs are calibrated on; noise where there is no such data.
        keep: a new folder for the files that were measured.
        cache: whether a capture that an earlier command has kept will do, and a new one is kept.

    Raises:
        QRecipeError: there is no such student or file, or it cannot be exported.
    """
    need("onnx")
    path = Path(target)
    if keep is not None and Path(keep).exists():
        raise ExportError("the folder is there already", where=str(keep), remedy="another --keep")
    with tempfile.TemporaryDirectory() as made, flushed_denormals():
        settings = BenchSettings(Path(made), threads, rounds, peers)
        if path.suffix.lower() == EXPORTED:
            return _file(path, batch, size, settings)
        batch = batch or 1
        found = find_target(path, model, data=False)
        if found.student is None:
            remedy = "name a run folder, a student's folder or an ONNX file"
            raise ExportError("there is no student here to measure", where=str(path), remedy=remedy)
        student = load(found.student, cache=cache)
        shape = size or plan_size(student.input)
        shown, said = _images(found, student, shape, images if peers else 0, listener)
        given = [np.repeat(image, batch, axis=0) for image in shown]
        listener(Noted("bench", f"writes and opens the files, {batch}x3x{shape[0]}x{shape[1]}", progress=True))
        measured = compare(student, _noise(batch, shape), given, settings, title=found.title, calibration=said)
        if keep is not None:
            shutil.copytree(made, keep)
    if is_run(path):
        kept_in_run(lambda: keep_bench(path, measured.to_dict()), listener)
    return measured


def _file(path: Path, batch: int | None, size: tuple[int, int] | None, settings: BenchSettings) -> Benched:
    if not path.is_file():
        raise ExportError("there is no such file", where=str(path))
    said = read_metadata(path)
    fixed, asked = said.fixed, (batch, *(size or (None, None)))
    for name, own, wanted in zip(("batch", "height", "width"), fixed, asked, strict=True):
        if wanted is not None and own not in (None, wanted):
            raise ExportError(f"its {name} is fixed to {own}, not {wanted}", where=str(path), remedy="leave it out")
    height, width = size or plan_size(said.input)
    return compare_file(path, _noise(fixed[0] or batch or 1, (fixed[1] or height, fixed[2] or width)), settings)


def _images(
    target: Target, student: Student, size: tuple[int, int], count: int, listener: Listener
) -> tuple[list[Array], str]:
    """The first images of the training split at one size, each (1, 3, height, width), and what they are."""
    if count == 0:
        return [], ""
    try:
        if student.label_map is None:
            raise DataError("it was compiled without data")
        workspace = Workspace(target.recipe, ("train",), listener)
        batches = workspace.batches("train", student.label_map, student.input, train=False, batch_size=1)
        found = [_resized(batch.pixel_values, size).numpy() for batch in islice(batches, count)]
    except DataError as error:
        listener(Noted("data", f"not read: {error.what}; other programs are calibrated on noise"))
        return [_noise(1, size, seed) for seed in range(1, count + 1)], f"{count} images of noise"
    return found, f"{len(found)} images of the training split"


def _resized(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(pixels.shape[2:]) == size:
        return pixels
    return torch.nn.functional.interpolate(pixels, size, mode="bilinear", antialias=True)


def _noise(batch: int, size: tuple[int, int], seed: int = 0) -> Array:
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(seed)).numpy()
