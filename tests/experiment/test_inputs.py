"""A resumed run notices what is not as it was when it was started."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from qrecipe.errors import RunError
from qrecipe.experiment import run_recipe as module
from qrecipe.experiment.events import Event, Noted
from qrecipe.experiment.inputs import changes, inputs_of
from qrecipe.experiment.run_recipe import run_recipe
from qrecipe.experiment.workspace import Workspace
from qrecipe.recipe import Recipe, recipe_from_mapping
from qrecipe.recipe.dump import dump
from qrecipe.run.folder import RunFolder
from tests.tiny_commands import TINY

pytestmark = pytest.mark.usefixtures("surroundings")


@dataclass
class Files:
    """A recipe with images, annotations and weights of its own, and a run of it that was cut off at once."""

    folder: Path
    recipe: Recipe

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "a.json").read_text())
        return found

    def start(self, hash_images: bool = False) -> None:
        with RunFolder.create(self.run, recipe=self.recipe.resolved, text=dump(self.recipe.resolved)) as run:
            run.write_inputs(inputs_of(self.workspace(), hash_images))

    def workspace(self) -> Workspace:
        return Workspace(self.recipe, ("train", "val"))

    def found(self) -> list[str]:
        """What has changed since the start."""
        before, workspace = RunFolder.read(self.run).inputs(), self.workspace()
        assert before is not None
        return changes(before, inputs_of(workspace), workspace)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    (tmp_path / "images").mkdir()
    images, boxes = [], []
    for number in range(1, 9):
        Image.new("RGB", (16, 12), (number, 0, 0)).save(tmp_path / "images" / f"{number}.bmp")
        images.append({"id": number, "file_name": f"{number}.bmp", "width": 16, "height": 12})
        boxes.append({"id": number, "image_id": number, "category_id": 1 + number % 2, "bbox": [2, 2, 8, 8]})
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    (tmp_path / "a.json").write_text(json.dumps({"images": images, "annotations": boxes, "categories": categories}))
    save_file({"w": torch.zeros(3)}, tmp_path / "w.safetensors")
    split = {"images": str(tmp_path / "images"), "annotations": str(tmp_path / "a.json")}
    model = {**TINY["model"], "weights": {"file": str(tmp_path / "w.safetensors")}}
    data = {**TINY, "model": model, "data": {"format": "coco", "train": split, "val": split}}
    return Files(tmp_path, recipe_from_mapping(data, "tiny"))


def touch(path: Path) -> None:
    """Another time, the same content."""
    os.utime(path, ns=(10**18, 10**18))


def test_what_is_as_it_was(files: Files) -> None:
    files.start()
    touch(files.folder / "a.json")
    touch(files.folder / "w.safetensors")
    assert files.found() == []


def test_each_change_is_named(files: Files) -> None:
    files.start()
    found = files.json
    found["categories"][1]["name"] = "dogs"
    (files.folder / "a.json").write_text(json.dumps(found))
    for number in range(1, 8):
        touch(files.folder / "images" / f"{number}.bmp")
    Image.new("RGB", (16, 12)).save(files.folder / "images" / "3.bmp", format="PNG")
    save_file({"w": torch.ones(3)}, files.folder / "w.safetensors")
    first, categories, images, *_, weights = files.found()
    assert first == f"data.train.annotations: {files.folder / 'a.json'} has another content"
    assert categories == "data.train.annotations: categories: 2 is dogs and was dog"
    names = "1.bmp (other time), 2.bmp (other time), 3.bmp (other size), 4.bmp (other time), 5.bmp (other time)"
    assert images == f"data.train.images: 7 of 8 files: {names} and 2 more"
    assert weights == "model.weights: w.safetensors (other content)"


def test_images_by_their_content(files: Files) -> None:
    """A copy with other times is the same; a picture of the same size and time is not, where every one is read."""
    files.start(hash_images=True)
    one, two = (files.folder / "images" / f"{number}.bmp" for number in (1, 2))
    touch(one)
    assert files.found() == []
    time = two.stat().st_mtime_ns
    two.write_bytes(one.read_bytes())
    os.utime(two, ns=(time, time))
    before, workspace = RunFolder.read(files.run).inputs(), files.workspace()
    assert before is not None
    hashed = inputs_of(workspace, hash_images=True)
    assert changes(before, hashed, workspace)[0] == "data.train.images: 1 of 8 files: 2.bmp (other content)"


def test_a_resumed_run_refuses_and_accepts(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    files.start()
    touch(files.folder / "images" / "1.bmp")
    with pytest.raises(RunError, match=r"(?s)not what this run was started with.*1\.bmp.*--accept-changes"):
        run_recipe(files.recipe, files.run, resume=True)
    assert len(RunFolder.read(files.run).starts()) == 1  # nothing was written

    class Through(BaseException):
        pass

    def through(*arguments: object) -> None:
        raise Through

    monkeypatch.setattr(module, "run_phases", through)
    monkeypatch.setattr(Workspace, "check_training", lambda self: None)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    told: list[Event] = []
    with pytest.raises(Through):
        run_recipe(files.recipe, files.run, resume=True, accept_changes=True, listener=told.append)
    notes = [event.text for event in told if isinstance(event, Noted)]
    assert [text[:60] for text in notes[:1]] == ["warning: not what it was started with: data.train.images: 1 "]
    assert files.found() == []  # what was accepted is what the next start is held to


def test_another_number_of_threads_is_told(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    files.start()
    monkeypatch.undo()
    monkeypatch.setattr(module, "run_phases", lambda experiment: None)
    monkeypatch.setattr(RunFolder, "summary", lambda self: None)
    monkeypatch.setattr(Workspace, "check_training", lambda self: None)
    told: list[Event] = []
    run_recipe(files.recipe, files.run, resume=True, listener=told.append)
    (note,) = [event.text for event in told if isinstance(event, Noted)]
    assert note.startswith("warning: it was started with 7 threads and goes on with ")
    assert note.endswith("(OMP_NUM_THREADS=7)")
