"""A capture is made once and read from then on; whatever is wrong with what was kept, it is made anew."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from qrecipe.capture.verify import Agreement
from qrecipe.capture_cache import KeptCapture, folder
from qrecipe.capture_cache.entry import Entry
from qrecipe.capture_cache.folder import captures_folder, entry_path, write_entry
from qrecipe.graph.program import MODES
from qrecipe.student import original
from qrecipe.student.original import capture_original
from tests.capture_cache.sameness import require_same
from tests.specimens import Specimen
from tests.toys import ToyDetector, call, picture, running


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QRECIPE_CACHE", str(tmp_path / "cache"))


@dataclass
class Place:
    """A model's place in the cache, and where its entry is."""

    specimen: Specimen

    def kept(self) -> KeptCapture:
        return KeptCapture(self.specimen.model, call, picture())

    def write(self) -> Path:
        kept = self.kept()
        with kept.watching():
            self.specimen.model(**picture())
        kept.write(self.specimen.captured)
        assert kept.notes == []
        (path,) = captures_folder().iterdir()
        return path

    def refused(self) -> str:
        """What is said where the entry is of no use."""
        kept = self.kept()
        assert kept.read() is None
        return " ".join(kept.notes)


@pytest.fixture
def place(toy: Specimen) -> Place:
    return Place(toy)


def test_it_is_read_as_it_was_written(place: Place) -> None:
    assert place.refused() == ""
    place.write()
    kept = place.kept()
    found = kept.read()
    assert found is not None
    require_same(found, place.specimen.captured, picture())
    assert kept.notes == [f"as an earlier command has kept it in {captures_folder()}"]


def test_one_that_is_damaged_is_made_anew_and_that_is_said(place: Place) -> None:
    path = place.write()
    whole = path.read_bytes()
    foreign = Entry("another key", {}, {}).to_bytes()
    empty = Entry(path.stem, {}, {}).to_bytes()
    for damaged in (b"", whole[:100], whole[:-1], whole + b"x", b"\0" * len(whole), foreign, empty):
        path.write_bytes(damaged)
        assert place.refused().startswith(f"made anew: {path} is of no use: ")
    place.write()
    assert place.kept().read() is not None


def test_a_folder_in_its_place_is_made_anew_and_not_kept(place: Place) -> None:
    path = place.write()
    path.unlink()
    path.mkdir()
    assert place.refused().startswith(f"made anew: {path} cannot be read")
    kept = place.kept()
    kept.write(place.specimen.captured)
    assert kept.notes[0].startswith("not kept for the next command, because ")
    assert list(captures_folder().iterdir()) == [path]


def test_a_cache_that_cannot_be_written_is_no_error(place: Place, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("no folder")
    kept = place.kept()
    kept.read()
    kept.write(place.specimen.captured)
    assert f"not kept for the next command, because {captures_folder()} cannot be written" in kept.notes[-1]


def test_what_cannot_be_told_is_captured_each_time(toy: Specimen) -> None:
    model = toy.eager()
    model.lock = threading.Lock()  # type: ignore[assignment]
    kept = KeptCapture(model, call, picture())
    assert kept.read() is None
    with kept.watching():
        model(**picture())
    kept.write(toy.captured)
    assert len(kept.notes) == 1
    assert kept.notes[0].startswith("not kept for the next command, because the model holds a _thread.lock")
    assert not captures_folder().exists()


@pytest.fixture
def late(tmp_path: Path) -> Iterator[Path]:
    """A module that a model imports only when it runs, by a name that is made up as it runs."""
    file = tmp_path / "late_module.py"
    file.write_text("def twice(x):\n    return x * 2\n")
    sys.path.insert(0, str(tmp_path))
    yield file
    sys.path.remove(str(tmp_path))
    sys.modules.pop("late_module", None)


class Late(nn.Module):
    def forward(self, pixel_values: Tensor) -> Tensor:
        return __import__("_".join(["late", "module"])).twice(pixel_values)  # type: ignore[no-any-return]


def test_code_that_only_runs_inside_is_part_of_it(toy: Specimen, late: Path) -> None:
    model = toy.eager()
    model.backbone.append(Late())  # type: ignore[operator, union-attr]
    kept = KeptCapture(model, call, picture())
    with kept.watching():
        model.backbone[-1](**picture())  # type: ignore[index, operator, union-attr]
    kept.write(toy.captured)
    (path,) = captures_folder().iterdir()
    assert list(Entry.from_bytes(path.read_bytes()).files) == [str(late)]
    late.write_text("def twice(x):\n    return x + x + x\n")
    kept = KeptCapture(model, call, picture())
    assert kept.read() is None
    assert kept.notes == []


def test_the_oldest_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "MOST", 100)
    for number in range(5):
        write_entry(entry_path(f"key{number}"), bytes(40))
        os.utime(entry_path(f"key{number}"), (number, number))
    assert sorted(path.stem for path in captures_folder().iterdir()) == ["key3", "key4"]
    folder.used(entry_path("key3"))
    write_entry(entry_path("key5"), bytes(40))
    assert sorted(path.stem for path in captures_folder().iterdir()) == ["key3", "key5"]
    write_entry(entry_path("large"), bytes(400))
    assert [path.stem for path in captures_folder().iterdir()] == ["large"]


def test_several_writers_and_readers(tmp_path: Path) -> None:
    """A reader sees one of the entries whole, or none yet."""
    entries = [Entry("key", {}, {"number": number, "filling": "x" * 10_000 * number}) for number in range(1, 5)]
    seen: list[Entry] = []
    failed: list[BaseException] = []

    def writes(entry: Entry) -> None:
        for _ in range(20):
            write_entry(entry_path("key"), entry.to_bytes())

    def reads() -> None:
        try:
            for _ in range(100):
                if entry_path("key").exists():
                    seen.append(Entry.from_bytes(entry_path("key").read_bytes()))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=writes, args=(entry,)) for entry in entries] + [threading.Thread(target=reads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert all(entry in entries for entry in seen)
    assert Entry.from_bytes(entry_path("key").read_bytes()) in entries
    assert [path.name for path in captures_folder().iterdir()] == [entry_path("key").name]


def test_an_original_is_captured_once(demo: Specimen, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def capture(*_: Any) -> Any:
        made.append(1)
        return demo.captured

    def verify(captured: Any, model: nn.Module, call: Any, examples: list[dict[str, Tensor]], **_: Any) -> list[Any]:
        call(model, examples[0])
        return [Agreement(mode, (), 0.0, 0.0, 0.0) for mode in MODES]

    monkeypatch.setattr(original, "capture", capture)
    monkeypatch.setattr(original, "verify", verify)
    model = demo.eager()

    def ask(**options: Any) -> Any:
        return capture_original(model, demo.family, demo.original.input, **options)

    ask()
    assert not captures_folder().exists()
    first, second = ask(cache=True), ask(cache=True)
    assert len(made) == 2
    assert first.notes == ()
    assert len(second.notes) == 1
    require_same(second.captured, demo.captured, demo.inputs(2, 64, 96))
    ask(cache=False)
    assert len(made) == 3
    with torch.no_grad():
        next(model.parameters()).mul_(2)
    third = ask(cache=True)  # other weights
    assert len(made) == 3
    assert torch.equal(next(third.captured.root.parameters()), next(model.parameters()))
    ask(cache=True, example=torch.rand(2, 3, 64, 128, dtype=torch.float64))
    assert len(made) == 4  # another size


FACTOR = {"boxes": 1.0}


class Scaled(ToyDetector):
    """Its forward reads what neither its code nor its settings show."""

    def forward(self, pixel_values: Tensor) -> dict[str, Any]:
        found = super().forward(pixel_values)
        return {**found, "pred_boxes": found["pred_boxes"] * FACTOR["boxes"]}


def test_what_no_key_shows_is_seen_by_what_the_model_computes(toy: Specimen, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Scaled().double().eval()
    for factor, said in ((1.0, ""), (1.0, "as an earlier command"), (3.0, "made anew: what is kept"), (3.0, "as an")):
        monkeypatch.setitem(FACTOR, "boxes", factor)
        found = capture_original(model, toy.family, toy.original.input, cache=True)
        assert " ".join(found.notes).startswith(said)
        assert bool(found.notes) == bool(said)
        boxes = running(found.captured).eval().run(picture()).outputs["pred_boxes"]
        torch.testing.assert_close(boxes, model(**picture())["pred_boxes"])


def test_a_capture_that_differs_from_the_model_is_not_kept(demo: Specimen, monkeypatch: pytest.MonkeyPatch) -> None:
    def differs(*_: Any) -> Any:
        raise ValueError("differs")

    monkeypatch.setattr(original, "capture", lambda *_: demo.captured)
    monkeypatch.setattr(original, "verify", differs)
    with pytest.raises(ValueError, match="differs"):
        capture_original(demo.eager(), demo.family, demo.original.input, cache=True)
    assert not captures_folder().exists()
