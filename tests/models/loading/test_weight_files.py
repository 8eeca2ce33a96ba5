"""Which files of a folder are read, and what is said of files that are not what their names say."""

from __future__ import annotations

import contextlib
import json
import shutil
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from qrecipe.errors import ModelError
from qrecipe.models.loading.weight_files import model_folder, read_weights, weight_files
from qrecipe.models.model_place import ModelPlace, error_at_model
from qrecipe.recipe.definition import WeightsSource
from tests.surroundings import hub_cache

PLACE = ModelPlace(error_at_model)
INDEX = "model.safetensors.index.json"


def tensors(folder: Path, name: str, **values: float) -> Path:
    """A file of one-element tensors."""
    save_file({key: torch.tensor([value]) for key, value in values.items()}, folder / name)
    return folder / name


def index(folder: Path, name: str = INDEX, **files: str) -> Path:
    (folder / name).write_text(json.dumps({"metadata": {}, "weight_map": files}))
    return folder / name


def values(folder: Path) -> dict[str, float]:
    return {key: float(value) for key, value in read_weights(WeightsSource(folder=folder), PLACE).state.items()}


def refusal(source: WeightsSource | Path) -> ModelError:
    """The one error of a source, or of the folder."""
    given = source if isinstance(source, WeightsSource) else WeightsSource(folder=source)
    with pytest.raises(ModelError) as caught:
        read_weights(given, PLACE)
    assert "weights_only" not in str(caught.value)
    return caught.value


FILES = {
    "model.safetensors": lambda folder: tensors(folder, "model.safetensors", a=1, b=1),
    INDEX: lambda folder: index(folder, a="part-1.safetensors", b="part-2.safetensors"),
    "model_ema.safetensors": lambda folder: tensors(folder, "model_ema.safetensors", a=3, b=3),
    "own.safetensors": lambda folder: tensors(folder, "own.safetensors", a=4, b=4),
}


@pytest.mark.parametrize("named", [None, "own.safetensors", INDEX])
@pytest.mark.parametrize("here", [chosen for size in range(5) for chosen in combinations(FILES, size)])
def test_the_files_are_those_that_transformers_takes(here: tuple[str, ...], named: str | None, tmp_path: Path) -> None:
    from transformers.modeling_utils import _get_resolved_checkpoint_files

    tensors(tmp_path, "part-1.safetensors", a=2)
    tensors(tmp_path, "part-2.safetensors", b=2)
    (tmp_path / "config.json").write_text(json.dumps({"transformers_weights": named} if named else {}))
    for name in here:
        FILES[name](tmp_path)
    expected: list[str] | None
    try:
        expected, _ = _get_resolved_checkpoint_files(
            tmp_path, None, None, None, None, is_remote_code=False, transformers_explicit_filename=named
        )
    except (OSError, ValueError):
        expected = None
    if expected is None or not all(Path(file).exists() for file in expected):
        refusal(tmp_path)
    else:
        assert weight_files(WeightsSource(folder=tmp_path), PLACE) == [Path(file) for file in expected]


class TestFolder:
    def test_a_second_file_is_passed_over_and_said(self, tmp_path: Path) -> None:
        tensors(tmp_path, "model.safetensors", a=1)
        tensors(tmp_path, "model_ema.safetensors", a=2)
        assert values(tmp_path) == {"a": 1}
        (said,) = read_weights(WeightsSource(folder=tmp_path), PLACE).messages
        assert "model.safetensors is read" in said
        assert "not read: model_ema.safetensors" in said

    def test_one_file_has_nothing_to_be_said(self, tmp_path: Path) -> None:
        tensors(tmp_path, "model.safetensors", a=1)
        assert read_weights(WeightsSource(folder=tmp_path), PLACE).messages == ()

    def test_missing_shards_are_named(self, tmp_path: Path) -> None:
        index(tmp_path, a="x-1.safetensors", b="x-2.safetensors", c="x-3.safetensors")
        tensors(tmp_path, "x-2.safetensors", b=1)
        error = refusal(tmp_path)
        assert "names 3 files, of which 2 are not there: x-1.safetensors, x-3.safetensors" in error.what
        assert error.where == "model.weights.folder"

    @pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"weight_map": {}}', '{"weight_map": {"a": 1}}', "\x00"])
    def test_an_index_that_is_none(self, text: str, tmp_path: Path) -> None:
        (tmp_path / INDEX).write_text(text)
        assert INDEX in refusal(tmp_path).what

    @pytest.mark.parametrize("name", ["../x.safetensors", "/etc/x.safetensors"])
    def test_nothing_outside_of_the_folder_is_read(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        tensors(tmp_path, "x.safetensors", a=1)
        index(tmp_path / "in", a=name)
        assert "leads out of its folder" in refusal(tmp_path / "in").what
        (tmp_path / "in" / "config.json").write_text(json.dumps({"transformers_weights": name}))
        assert "leads out of its folder" in refusal(tmp_path / "in").what

    def test_a_link_to_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "model.safetensors").symlink_to(tmp_path / "blob")
        assert "a link to a file that is not there" in refusal(tmp_path).what

    def test_pickles_are_refused(self, tmp_path: Path) -> None:
        torch.save({"a": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
        assert "holds pytorch_model.bin and no model.safetensors" in refusal(tmp_path).what
        assert "a pickle can run code" in str(refusal(tmp_path))
        index(tmp_path, "pytorch_model.bin.index.json", a="pytorch_model-1.bin")
        (tmp_path / "pytorch_model.bin").unlink()
        assert "pytorch_model.bin.index.json" in refusal(tmp_path).what

    def test_tensors_under_another_name(self, tmp_path: Path) -> None:
        tensors(tmp_path, "pytorch_model.bin", a=1)
        error = refusal(tmp_path)
        assert "pytorch_model.bin holds safetensors under another name" in error.what
        assert error.remedy == "rename it to model.safetensors"
        (tmp_path / "pytorch_model.bin").rename(tmp_path / "mine.safetensors")
        assert "but mine.safetensors" in refusal(tmp_path).what
        assert "model.weights: {file: " in str(refusal(tmp_path))


def pickled(file: Path) -> None:
    torch.save({"a": torch.zeros(1)}, file)


def old_pickle(file: Path) -> None:
    torch.save({"a": torch.zeros(1)}, file, _use_new_zipfile_serialization=False)


def half(file: Path) -> None:
    save_file({"a": torch.zeros(100)}, file)
    file.write_bytes(file.read_bytes()[:-200])


def header_alone(file: Path) -> None:
    save_file({"a": torch.zeros(100)}, file)
    file.write_bytes(file.read_bytes()[:30])


POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 334868\n"
WRONG: dict[str, tuple[Any, str, str]] = {
    "lfs": (lambda file: file.write_text(POINTER), "is a Git LFS pointer", "git lfs pull"),
    "page": (lambda file: file.write_text("\n<!DOCTYPE html><html>Sign in</html>"), "is a web page", "download it"),
    "empty": (lambda file: file.write_bytes(b""), "is empty", "download it again"),
    "zip": (pickled, "is a zip, as PyTorch saves its pickles", "safetensors.torch.save_file"),
    "pickle": (old_pickle, "is a pickle", "safetensors.torch.save_file"),
    "half": (half, "is cut off: it has 272 of 472 bytes", "download it again"),
    "header": (header_alone, "is cut off: it has 30 bytes", "download it again"),
    "gguf": (lambda file: file.write_bytes(b"GGUF\x03\x00"), "is a GGUF file", "only .safetensors is read"),
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("where", ["folder", "file", "shard"])
def test_a_file_is_named_as_what_it_is(kind: str, where: str, tmp_path: Path) -> None:
    make, what, remedy = WRONG[kind]
    name = "x-1.safetensors" if where == "shard" else "model.safetensors"
    make(tmp_path / name)
    if where == "shard":
        index(tmp_path, a=name)
    source = WeightsSource(file=tmp_path / name) if where == "file" else WeightsSource(folder=tmp_path)
    error = refusal(source)
    assert what in error.what
    assert str(tmp_path / name) in error.what
    assert remedy in str(error.remedy)


@pytest.mark.parametrize("kind", ["lfs", "page", "empty", "zip"])
def test_a_config_is_named_as_what_it_is(kind: str, tmp_path: Path) -> None:
    make, what, _ = WRONG[kind]
    make(tmp_path / "config.json")
    tensors(tmp_path, "model.safetensors", a=1)
    with pytest.raises(ModelError, match=what):
        model_folder(WeightsSource(folder=tmp_path), PLACE)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_file_is_refused_in_one_message_or_read(tmp_path: Path, data: st.DataObject) -> None:
    file = tensors(tmp_path, "model.safetensors", a=1, b=2)
    whole = file.read_bytes()
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, len(whole)))
    file.write_bytes(whole[:start] + data.draw(st.binary(max_size=40)) + whole[stop:])
    with contextlib.suppress(ModelError):
        read_weights(WeightsSource(folder=tmp_path), PLACE)


class TestHub:
    """A cache as the hub's library keeps it, read by that library, without a network."""

    def test_shards_of_an_index(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = hub_cache(tmp_path, "me/mine", monkeypatch)
        (folder / "config.json").write_text("{}")
        index(folder, a="detector-1.safetensors", b="detector-2.safetensors")
        tensors(folder, "detector-1.safetensors", a=1)
        source = WeightsSource(hub="me/mine")
        error = refusal(source)
        assert "detector-2.safetensors" in error.what
        assert error.where == "model.weights.hub"
        tensors(folder, "detector-2.safetensors", b=2)
        assert {key: float(value) for key, value in read_weights(source, PLACE).state.items()} == {"a": 1, "b": 2}

    def test_model_safetensors_alone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = hub_cache(tmp_path, "me/mine", monkeypatch)
        (folder / "config.json").write_text("{}")
        tensors(folder, "model.safetensors", a=1)
        tensors(folder, "model-00001-of-00002.safetensors", a=2)
        index(folder, a="model-00001-of-00002.safetensors")
        assert model_folder(WeightsSource(hub="me/mine"), PLACE) == folder
        assert float(read_weights(WeightsSource(hub="me/mine"), PLACE).state["a"]) == 1
        shutil.rmtree(folder)
        assert "is not in the cache" in refusal(WeightsSource(hub="me/mine")).what
