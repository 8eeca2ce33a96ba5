"""``docs/faults.md``: a run suffers each fault in turn, says what the page says, and ends as one that suffered none."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import qrecipe
from qrecipe.data import loader
from qrecipe.data.dataset import CocoDataset, Item
from qrecipe.data.synthetic import synthetic_splits
from qrecipe.experiment import phases
from qrecipe.recipe.definition import SyntheticSpec
from qrecipe.run import checkpoint, files
from qrecipe.run.lock import RunLock
from qrecipe.train.module import TrainingModule
from qrecipe.train.trainer import Trainer
from tests import tiny_commands as tiny
from tests.tiny_commands import Finished

PAGE = (Path(qrecipe.__file__).parents[1] / "docs" / "faults.md").read_text(encoding="utf-8").split("## Memory")[0]
ROWS = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in PAGE.splitlines() if " | `" in line]
MESSAGES = {fault: message.strip("`") for fault, message, _ in ROWS}
HOLES = re.compile(r"\b(?:PATH|RUN|IDS?|N|SIZE|HOST|REASON)\b")

Patch = pytest.MonkeyPatch


@dataclass
class Run:
    """A run that is to suffer: the command's words, its folder, and the data that it reads."""

    words: tuple[object, ...]
    folder: Path
    data: Path
    held: RunLock | None = None

    def mend(self) -> None:
        """What the last fault put away stands where it stood; nobody else holds the folder."""
        for folder in (self.data, self.folder):
            for path in folder.rglob("*.whole"):
                path.replace(path.with_name(path.name.removesuffix(".whole")))
        if self.held is not None:
            self.held.release()

    def start(self, *more: object) -> tiny.Answer:
        return tiny.qrecipe(*self.words, *(("--resume",) if (self.folder / "recipe.json").exists() else ()), *more)


def says(fault: str, text: str) -> bool:
    """Whether a message is the page's, with anything in its holes."""
    whole = MESSAGES[fault].replace("⏎", "\n  ")
    pattern = ".+".join(re.escape(part) for part in HOLES.split(whole))
    return re.fullmatch(f"error: {pattern}\n", text, re.DOTALL) is not None


def writes_fail(patch: Patch, number: int, name: str) -> None:
    """The file system refuses all files of a name."""
    write = files.write_synced

    def refuse(path: Path, data: bytes) -> None:
        if path.name.strip(".").startswith(name):
            raise OSError(number, os.strerror(number))
        write(path, data)

    patch.setattr(checkpoint, "write_synced", refuse)
    patch.setattr(files, "write_synced", refuse)


def full_disk(run: Run, patch: Patch) -> None:
    writes_fail(patch, errno.ENOSPC, "weights.safetensors")


def read_only_start(run: Run, patch: Patch) -> None:
    def refuse(self: Path, *arguments: object, **keywords: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    patch.setattr(Path, "mkdir", refuse)


def read_only_later(run: Run, patch: Patch) -> None:
    writes_fail(patch, errno.EROFS, "phases.json")


def last_image(change: Callable[[Path], object]) -> Callable[[Run, Patch], None]:
    """Something happens to the image that the epoch's last step reads."""

    def provoke(run: Run, patch: Patch) -> None:
        learn = Trainer.learn

        def meanwhile(self: Any, number: int, *others: Any) -> None:
            batches = self.loader.batches
            batches.set_epoch(number)
            change(batches.dataset.index.images[batches.order()[-1]].path)
            learn(self, number, *others)

        patch.setattr(Trainer, "learn", meanwhile)

    return provoke


def put_away(path: Path) -> Path:
    """Until the fault is mended."""
    return path.rename(path.with_name(f"{path.name}.whole"))


def corrupt(path: Path) -> None:
    """Of the same size in pixels, and half a file."""
    jpeg = io.BytesIO()
    with Image.open(put_away(path)) as image:
        image.save(jpeg, "JPEG")
    path.write_bytes(jpeg.getvalue()[: len(jpeg.getvalue()) // 2])


def in_worker(act: Callable[[], object], patience: int = loader.PATIENCE) -> Callable[[Run, Patch], None]:
    """Something happens in a process that reads images. patience: seconds that the command waits for it."""

    def provoke(run: Run, patch: Patch) -> None:
        parent, get = os.getpid(), CocoDataset.__getitem__

        def meanwhile(self: CocoDataset, number: int) -> Item:
            if os.getpid() != parent:
                act()
            return get(self, number)

        patch.setattr(CocoDataset, "__getitem__", meanwhile)
        patch.setattr(loader, "PATIENCE", patience)

    return provoke


def nan_in_the_data(run: Run, patch: Patch) -> None:
    path = run.data / "train" / "instances.json"
    document = json.loads(put_away(path).read_text())
    document["annotations"][0]["bbox"][1] = float("nan")
    path.write_text(json.dumps(document))


def in_forward(act: Callable[[], float]) -> Callable[[Run, Patch], None]:
    """Something happens in the forward pass of a step; the loss is multiplied by what it returns."""

    def provoke(run: Run, patch: Patch) -> None:
        forward = TrainingModule.forward

        def meanwhile(self: TrainingModule, batch: Any) -> Any:
            loss, parts = forward(self, batch)
            factor = act()
            return loss * factor, {name: part * factor for name, part in parts.items()}

        patch.setattr(TrainingModule, "forward", meanwhile)

    return provoke


def too_much() -> float:
    """What torch says of a tensor that no memory holds."""
    return float(torch.empty(1 << 46).sum())


def send(number: int) -> float:
    os.kill(os.getpid(), number)
    return 1.0


def in_place_of(owner: object, name: str) -> Callable[[Run, Patch], None]:
    return lambda run, patch: patch.setattr(owner, name, lambda *arguments, **keywords: too_much())


def hold(run: Run, patch: Patch) -> None:
    run.held = RunLock(run.folder)


def in_checkpoint(name: str, change: Callable[[bytes], bytes]) -> Callable[[Run, Patch], None]:
    def provoke(run: Run, patch: Patch) -> None:
        path = run.folder / "checkpoints" / "student" / "last" / name
        path.write_bytes(change(put_away(path).read_bytes()))

    return provoke


FAULTS: dict[str, tuple[Callable[[Run, Patch], None], tuple[str, ...], int]] = {
    "NaN in the data": (nan_in_the_data, (), 2),
    "read-only folder, at the start": (read_only_start, (), 2),
    "read-only folder, later": (read_only_later, (), 2),
    "out of memory, calibration": (in_place_of(phases, "calibrate"), (), 2),
    "two runs into one folder": (hold, (), 2),
    "vanished image": (last_image(put_away), (), 2),
    "corrupt JPEG": (last_image(corrupt), (), 2),
    "image worker killed": (in_worker(lambda: send(signal.SIGKILL)), ("--set", "data.workers=1"), 2),
    "images' storage hangs": (in_worker(signal.pause, patience=1), ("--set", "data.workers=1"), 2),
    "full disk": (full_disk, (), 2),
    "NaN loss": (in_forward(lambda: float("nan")), (), 2),
    "out of memory, a step": (in_forward(too_much), (), 2),
    "out of memory, an evaluation": (in_place_of(phases, "score"), (), 2),
    "SIGTERM": (in_forward(lambda: send(signal.SIGTERM)), (), 143),
    "Ctrl-C": (in_forward(lambda: send(signal.SIGINT)), (), 130),
    "truncated checkpoint": (in_checkpoint("weights.safetensors", lambda data: data[: len(data) // 2]), (), 2),
    "foreign checkpoint": (in_checkpoint("manifest.json", lambda data: b'{"step": 1}'), (), 2),
    "checkpoint of a newer qrecipe": (
        in_checkpoint("manifest.json", lambda data: data.replace(b'"format": 2', b'"format": 99')),
        (),
        2,
    ),
}
"""In the order in which they are suffered: what is done, more words of the command, its exit code."""


def test_the_page_has_these_faults_and_one_that_nobody_can_speak_of() -> None:
    assert set(MESSAGES) == {*FAULTS, "killed for memory"}
    assert all(len(row) == 3 and row[2] for row in ROWS)


def test_a_run_that_suffers_them_all_ends_as_one_that_suffered_none(finished: Finished, tmp_path: Path) -> None:
    data = tmp_path / "data"
    synthetic = SyntheticSpec(**tiny.TINY["data"]["synthetic"])
    splits = {}
    for name, split in synthetic_splits(synthetic).items():
        shutil.copytree(split.images.parent, data / name)
        splits[name] = {"images": f"data/{name}/images", "annotations": f"data/{name}/{split.annotations.name}"}
    recipe = tiny.recipe(tmp_path / "tiny.yaml", data={"format": "coco", **splits})
    run = Run(("apply", recipe, "--output", tmp_path / "run"), tmp_path / "run", data)
    for fault, (provoke, more, code) in FAULTS.items():
        with pytest.MonkeyPatch.context() as patch:
            provoke(run, patch)
            answer = run.start(*more)
        assert answer.code == code, (fault, answer)
        assert says(fault, answer.err), (fault, answer.err)
        run.mend()
    run.start().fine  # noqa: B018 - the property checks
    for name in ("calibrated", "student", "control"):
        weights = Path(name) / "weights.safetensors"
        assert (run.folder / weights).read_bytes() == (finished.folder / weights).read_bytes()
    losses = [
        [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (run.folder, finished.folder)
    ]
    assert losses[0] == losses[1]
