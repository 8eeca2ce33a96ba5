"""A checkpoint is a folder: weights, optionally the optimizer's state, and a manifest that vouches for both.

    weights.safetensors   the student's state_dict; tied tensors once
    optimizer.pt          what training needs to go on; absent where only weights are kept
    manifest.json         format, epoch, step, best, sizes and sha256 of the files, tied names, versions, extra, seal

It is written under another name and renamed into its place, so that a kill at any moment leaves the old or the new one.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ..errors import TrainError
from ..launched import is_first
from .environment import package_versions
from .files import json_bytes, parsed, sync_folder, write_synced, writing
from .seal import SEAL, sealed, unsealed
from .state import fit_problems, join_tied, split_tied

FORMAT = 2
"""1 had no seal, and no checkpoint within an epoch."""
WEIGHTS = "weights.safetensors"
OPTIMIZER = "optimizer.pt"
MANIFEST = "manifest.json"
ANOTHER = "use another checkpoint, or start again"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory.

    weights: the student's state_dict. epoch: finished epochs. step: finished optimizer steps.
    best: plain data about the best epoch so far, or None. extra: any plain data, the recipe for one.
    training: tensors and plain data that training needs to go on, or None where only weights are kept.
    """

    weights: Mapping[str, Tensor]
    epoch: int = 0
    step: int = 0
    best: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] | None = None


def save_checkpoint(folder: Path, checkpoint: Checkpoint, moved: Path | None = None) -> None:
    """Write a checkpoint, in place of the one that is there. Of several processes the first writes.

    moved: where that one is put, in place of what is there; None drops it.

    Raises:
        TrainError: the state_dict holds something that is no tensor.
        RunError: the file system refuses it, a full disk for one. The old checkpoint is intact.
    """
    if not is_first():
        return
    new, old = _new(folder), _old(folder)
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        _recover(folder)
        if new.exists():  # left by a kill
            shutil.rmtree(new)
        try:
            _write(new, checkpoint, folder)
        except OSError:
            shutil.rmtree(new, ignore_errors=True)
            raise
        if folder.exists():
            folder.replace(old)
        new.replace(folder)
        sync_folder(folder.parent)
        if moved is not None and old.exists():
            shutil.rmtree(moved, ignore_errors=True)
            old.replace(moved)
        shutil.rmtree(old, ignore_errors=True)


def has_checkpoint(folder: Path) -> bool:
    """Whether a checkpoint was ever completed here. One that has lost files is still one, and is refused when read."""
    return any((_current(folder) / name).exists() for name in (MANIFEST, WEIGHTS, OPTIMIZER))


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint, checked against its manifest. Tensors are on the CPU.

    Raises:
        TrainError: it is missing, incomplete, damaged, or of a newer format.
    """
    place = _current(folder)
    manifest = _manifest(place)
    blobs = {name: _verified(place / name, entry) for name, entry in manifest["files"].items()}
    if WEIGHTS not in blobs:
        raise TrainError(f"the manifest names no {WEIGHTS}", where=str(place / MANIFEST))
    try:
        stored = safetensors.torch.load(blobs[WEIGHTS])
    except SafetensorError as error:
        raise TrainError(f"cannot be read: {error}", where=str(place / WEIGHTS)) from error
    training = None
    if OPTIMIZER in blobs:
        try:
            training = torch.load(io.BytesIO(blobs[OPTIMIZER]), map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:  # its text advises to read it unsafely
            what = f"is whole, but torch {torch.__version__} cannot read it; {_writer(manifest)} wrote it"
            remedy = "go on with the version that wrote it"
            raise TrainError(what, where=str(place / OPTIMIZER), remedy=remedy) from error
    return Checkpoint(
        weights=join_tied(stored, manifest["tied"]),
        epoch=manifest["epoch"],
        step=manifest["step"],
        best=manifest["best"],
        extra=manifest["extra"],
        training=training,
    )


def manifest_of(folder: Path) -> Mapping[str, Any] | None:
    """What a checkpoint says of itself; None where it is not there, or is damaged."""
    try:
        return _manifest(_current(folder))
    except TrainError:
        return None


def load_weights(folder: Path, student: nn.Module) -> Checkpoint:
    """Read a checkpoint and put its weights into ``student``: all of them, and nothing is left as it was.

    Raises:
        TrainError: as :func:`load_checkpoint`, or the student is of another structure (the keys are listed).
    """
    checkpoint = load_checkpoint(folder)
    take_weights(checkpoint, student, folder)
    return checkpoint


def take_weights(checkpoint: Checkpoint, student: nn.Module, folder: Path) -> None:
    """Put a checkpoint's weights into ``student``. folder: where it was read.

    Raises:
        TrainError: the student is of another structure (the keys are listed).
    """
    problems = fit_problems(student.state_dict(), checkpoint.weights)
    if problems:
        raise TrainError(
            "the checkpoint is of another structure than the model:\n  " + "\n  ".join(problems),
            where=str(folder),
            remedy="load it with the recipe that made it",
        )
    student.load_state_dict(dict(checkpoint.weights), strict=True)


def _write(new: Path, checkpoint: Checkpoint, folder: Path) -> None:
    new.mkdir()
    stored, tied = split_tied(checkpoint.weights, where=str(folder))
    blobs = {WEIGHTS: safetensors.torch.save(stored)}
    if checkpoint.training is not None:
        buffer = io.BytesIO()
        torch.save(dict(checkpoint.training), buffer)
        blobs[OPTIMIZER] = buffer.getvalue()
    versions = package_versions()
    manifest = {
        "format": FORMAT,
        "epoch": checkpoint.epoch,
        "step": checkpoint.step,
        "best": None if checkpoint.best is None else dict(checkpoint.best),
        "files": {n: {"bytes": len(b), "sha256": hashlib.sha256(b).hexdigest()} for n, b in blobs.items()},
        "tied": tied,
        "versions": {name: versions[name] for name in ("qrecipe", "torch", "safetensors")},
        "extra": dict(checkpoint.extra),
    }
    for name, blob in blobs.items():
        write_synced(new / name, blob)
    write_synced(new / MANIFEST, json_bytes(sealed(manifest), indent=2))
    sync_folder(new)


def _new(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.new")


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _current(folder: Path) -> Path:
    """The folder itself, or the old one where a kill fell between the two renames."""
    return _old(folder) if not folder.exists() and _old(folder).exists() else folder


def _recover(folder: Path) -> None:
    old = _old(folder)
    if folder.exists():
        if old.exists():
            shutil.rmtree(old)
    elif old.exists():
        old.replace(folder)


def _manifest(place: Path) -> dict[str, Any]:
    path = place / MANIFEST
    try:
        manifest = parsed(path.read_bytes())
    except FileNotFoundError:
        what = (
            f"the checkpoint is damaged: {MANIFEST} is missing" if has_checkpoint(place) else "there is no checkpoint"
        )
        raise TrainError(what, where=str(place)) from None
    except (OSError, ValueError) as error:
        raise TrainError(f"the checkpoint is damaged: {error}", where=str(path), remedy=ANOTHER) from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("format"), int):
        raise TrainError("the checkpoint is damaged: this is no manifest", where=str(path))
    if manifest["format"] > FORMAT:
        raise TrainError(
            f"the checkpoint has format {manifest['format']}, and this version reads up to {FORMAT}",
            where=str(path),
            remedy="update qrecipe",
        )
    kinds = {"epoch": int, "step": int, "best": dict | None, "files": dict, "tied": dict, "extra": dict}
    bad = [name for name, kind in kinds.items() if name not in manifest or not isinstance(manifest[name], kind)]
    if bad:
        raise TrainError(f"the checkpoint is damaged: {', '.join(bad)}", where=str(path), remedy=ANOTHER)
    if unsealed(manifest) is None and (manifest["format"] > 1 or SEAL in manifest):
        raise TrainError("the checkpoint is damaged: this is not what was written", where=str(path), remedy=ANOTHER)
    return manifest


def _writer(manifest: Mapping[str, Any]) -> str:
    versions = manifest.get("versions")
    return f"torch {versions.get('torch')}" if isinstance(versions, dict) else "another"


def _verified(path: Path, entry: Any) -> bytes:
    if path.name not in (WEIGHTS, OPTIMIZER):
        raise TrainError("the manifest names a file that no checkpoint has", where=str(path))
    try:
        blob = path.read_bytes()
    except OSError as error:
        raise TrainError(f"the checkpoint is damaged: {error.strerror or error}", where=str(path)) from error
    if not isinstance(entry, dict) or hashlib.sha256(blob).hexdigest() != entry.get("sha256"):
        raise TrainError(
            "the checkpoint is damaged: the file is not the one that was written",
            where=str(path),
            remedy=ANOTHER,
        )
    return blob
