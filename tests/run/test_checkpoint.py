from __future__ import annotations

import errno
import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import safetensors
import torch
from torch import nn

from qrecipe.errors import RunError, TrainError
from qrecipe.run import checkpoint as room
from qrecipe.run.checkpoint import Checkpoint, has_checkpoint, load_checkpoint, load_weights, save_checkpoint
from qrecipe.run.seal import sealed
from tests.tiny_training import TinyStudent


class Killed(BaseException):
    """Stands in for kill -9: nothing catches it."""


def made(epoch: int, **more: Any) -> Checkpoint:
    return Checkpoint({"w": torch.full((2, 2), float(epoch))}, epoch=epoch, step=10 * epoch, **more)


def test_round_trip(tmp_path: Path) -> None:
    student = TinyStudent(1)
    training = {"optimizer": {"state": {0: {"step": torch.tensor(3.0)}}}, "scheduler": {"step": 4}}
    best = {"epoch": 2, "AP": 0.5}
    whole = Checkpoint(student.state_dict(), 3, 7, best, extra={"recipe": {"a": [1, None]}}, training=training)
    save_checkpoint(tmp_path / "deep" / "last", whole)
    other = TinyStudent(2)
    read = load_weights(tmp_path / "deep" / "last", other)
    assert (read.epoch, read.step, read.best, read.extra) == (3, 7, best, {"recipe": {"a": [1, None]}})
    assert read.training == training
    assert set(read.weights) == set(student.state_dict())
    for name, value in student.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    assert other.tied.weight is other.head.weight


def test_tied_weights_are_stored_once(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last", Checkpoint(TinyStudent().state_dict()))
    with safetensors.safe_open(tmp_path / "last" / "weights.safetensors", "pt") as file:
        stored = set(file.keys())
    manifest = json.loads((tmp_path / "last" / "manifest.json").read_text())
    assert manifest["tied"] == {"tied.weight": "head.weight"}
    assert "tied.weight" not in stored
    assert "head.weight" in stored


def test_views_empty_and_odd_tensors(tmp_path: Path) -> None:
    base = torch.arange(12.0)
    state = {
        "a": base[:6],
        "b": base[3:9].view(2, 3).t(),
        "c": base[:6].view(2, 3),
        "none": torch.zeros(0, 4),
        "none too": torch.zeros(0, 4),
        "flag": torch.tensor(True),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "count": torch.tensor(7),
    }
    save_checkpoint(tmp_path / "last", Checkpoint(state))
    read = load_checkpoint(tmp_path / "last").weights
    assert set(read) == set(state)
    for name, value in state.items():
        assert torch.equal(read[name], value), name
        assert read[name].dtype == value.dtype


def test_no_tensor_in_the_state(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="no tensor"):
        save_checkpoint(tmp_path / "last", Checkpoint({"extra": {"x": 1}}))  # type: ignore[dict-item]


def test_another_structure_lists_the_keys(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last", Checkpoint(nn.Linear(3, 2).state_dict()))
    model = nn.Linear(4, 2, bias=False)
    model.register_buffer("extra", torch.zeros(1))
    before = model.weight.clone()
    with pytest.raises(TrainError) as caught:
        load_weights(tmp_path / "last", model)
    text = str(caught.value)
    assert "missing: extra" in text
    assert "unexpected: bias" in text
    assert "other form: weight: (2, 3) float32 in the checkpoint, (2, 4) float32 in the model" in text
    assert torch.equal(model.weight, before)


def test_many_keys_are_cut_short(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last", Checkpoint({f"k{i}": torch.zeros(1) for i in range(30)}))
    with pytest.raises(TrainError, match="unexpected: and 20 more"):
        load_weights(tmp_path / "last", nn.Module())


def test_missing(tmp_path: Path) -> None:
    assert not has_checkpoint(tmp_path / "last")
    with pytest.raises(TrainError, match="there is no checkpoint"):
        load_checkpoint(tmp_path / "last")


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.pt"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damage_is_found(tmp_path: Path, name: str, damage: str) -> None:
    save_checkpoint(tmp_path / "last", made(1, training={"optimizer": {}}))
    path = tmp_path / "last" / name
    blob = bytearray(path.read_bytes())
    if damage == "flip":
        blob[-1] ^= 1
        path.write_bytes(blob)
    elif damage == "cut":
        path.write_bytes(blob[:-3])
    else:
        path.unlink()
    with pytest.raises(TrainError, match="damaged") as caught:
        load_checkpoint(tmp_path / "last")
    assert name in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "{}", '{"format": 1}', '{"format": "1"}', '{"format": 1, "files": 3}'],
)
def test_a_manifest_that_is_none(tmp_path: Path, text: str) -> None:
    save_checkpoint(tmp_path / "last", made(1))
    (tmp_path / "last" / "manifest.json").write_text(text)
    with pytest.raises(TrainError, match="damaged"):
        load_checkpoint(tmp_path / "last")


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(sealed({**json.loads(path.read_text()), **changes})))


def test_manifests_that_lie(tmp_path: Path) -> None:
    folder = tmp_path / "last"
    save_checkpoint(folder, made(1))
    edit(folder, tied={"v": "lost"})
    with pytest.raises(TrainError, match="v"):
        load_checkpoint(folder)
    edit(folder, tied={}, files={})
    with pytest.raises(TrainError, match="names no weights"):
        load_checkpoint(folder)
    edit(folder, files={"../secret": {"bytes": 1, "sha256": "0"}})
    with pytest.raises(TrainError, match="no checkpoint has"):
        load_checkpoint(folder)
    edit(folder, format=3)
    with pytest.raises(TrainError, match="format 3"):
        load_checkpoint(folder)


def operations(monkeypatch: pytest.MonkeyPatch, fail_at: int, error: BaseException) -> list[str]:
    """Let the file operation number ``fail_at`` of a save raise; the list grows with their names."""
    done: list[str] = []

    def wrap(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            done.append(name)
            if len(done) - 1 == fail_at:
                raise error
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, wrapped)

    wrap(room, "write_synced")
    wrap(room, "sync_folder")
    wrap(Path, "replace")
    wrap(Path, "mkdir")
    wrap(shutil, "rmtree")
    return done


COUNT = 10  # operations of a save over an old checkpoint: 2 mkdir, 3 writes, sync, 2 renames, sync, rmtree


def test_the_number_of_operations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path / "last", made(1, training={}))
    done = operations(monkeypatch, -1, Killed())
    save_checkpoint(tmp_path / "last", made(2, training={}))
    assert len(done) == COUNT


@pytest.mark.parametrize("at", range(COUNT))
def test_a_kill_leaves_the_old_or_the_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    folder = tmp_path / "last"
    save_checkpoint(folder, made(1, training={}))
    with monkeypatch.context() as patch:
        done = operations(patch, at, Killed())
        with pytest.raises(Killed):
            save_checkpoint(folder, made(2, training={}))
    read = load_checkpoint(folder)
    assert read.epoch == (2 if done[: at + 1].count("replace") == 2 and done[at] != "replace" else 1)
    assert torch.equal(read.weights["w"], torch.full((2, 2), float(read.epoch)))
    # and the next save is not disturbed by what is left, killed once more or not
    with monkeypatch.context() as patch:
        operations(patch, at, Killed())
        with suppress(Killed):  # what is left changes how many operations there are
            save_checkpoint(folder, made(3, training={}))
    assert load_checkpoint(folder).epoch in (1, 2, 3)
    save_checkpoint(folder, made(4, training={}))
    assert load_checkpoint(folder).epoch == 4
    assert [path.name for path in tmp_path.iterdir()] == ["last"]


@pytest.mark.parametrize("at", range(COUNT - 1))
def test_a_full_disk_leaves_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    folder = tmp_path / "last"
    save_checkpoint(folder, made(1, training={}))
    with monkeypatch.context() as patch:
        operations(patch, at, OSError(errno.ENOSPC, "No space left on device"))
        with pytest.raises(RunError, match="disk is full"):
            save_checkpoint(folder, made(2, training={}))
    assert load_checkpoint(folder).epoch == (2 if at == COUNT - 2 else 1)
    save_checkpoint(folder, made(3, training={}))
    assert load_checkpoint(folder).epoch == 3


def test_the_first_save_killed_is_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        operations(patch, 4, Killed())
        with pytest.raises(Killed):
            save_checkpoint(tmp_path / "last", made(1, training={}))
    assert not has_checkpoint(tmp_path / "last")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        save_checkpoint(tmp_path / "file" / "last", made(1))
