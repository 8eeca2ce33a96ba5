"""Whatever happens to a file of a run: it is refused with one message, or read as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qrecipe.errors import QRecipeError, RunError, TrainError
from qrecipe.run import checkpoint
from qrecipe.run.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from qrecipe.run.folder import RunFolder
from qrecipe.run.lock import RunLock
from qrecipe.run.summary import Summary, SummaryRow

RECIPE = {"version": 1, "name": "größe", "train": {"epochs": 2}, "seed": 0}
DEEP = b"[" * 100_000 + b"]" * 100_000


def read(path: Path) -> dict[str, Callable[[], Any]]:
    """How each file of a run is read."""
    run = RunFolder(path, None)
    return {
        "recipe.json": run.recipe,
        "phases.json": run.phases,
        "summary.json": run.summary,
        "metrics.jsonl": run.metrics.read,
        **dict.fromkeys(
            ["manifest.json", "weights.safetensors", "optimizer.pt"],
            lambda: plain(load_checkpoint(path / "checkpoints" / "student" / "last")),
        ),
    }


def plain(found: Checkpoint) -> Any:
    """A checkpoint as values that compare."""
    training = None if found.training is None else {name: own.tolist() for name, own in found.training.items()}
    weights = {name: tensor.tolist() for name, tensor in found.weights.items()}
    return weights, found.epoch, found.step, found.best, found.extra, training


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("damaged") / "run"
    with RunFolder.create(path, recipe=RECIPE, text="version: 1\n") as made:
        made.finish_phase("teacher", {"AP": 0.25})
        made.metrics.append({"phase": "student", "epoch": 1, "loss": 0.5})
        state = {"exp_avg": torch.ones(3)}
        last = Checkpoint({"w": torch.arange(3.0)}, 1, 4, {"epoch": 1, "AP": 0.5}, {"recipe": RECIPE}, state)
        save_checkpoint(made.checkpoints("student") / "last", last)
        made.finish(Summary("größe", "val", (SummaryRow("trained", {"AP": 0.5}),)))
    return path


def place(run: Path, name: str) -> Path:
    folder = run / "checkpoints" / "student" / "last"
    return folder / name if (folder / name).exists() else run / name


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file's bytes after something happened to them."""
    kind = draw(st.sampled_from(["cut", "empty", "bytes", "flip", "json", "deep", "deep inside", "key"]))
    if kind == "cut":
        return whole[: draw(st.integers(0, len(whole)))]
    if kind == "flip":
        at = draw(st.integers(0, len(whole) - 1))
        return whole[:at] + bytes([whole[at] ^ draw(st.integers(1, 255))]) + whole[at + 1 :]
    if kind == "json":
        return json.dumps(draw(json_values)).encode()
    if kind == "deep inside":
        return b'{"format": 1, "seal": ' + DEEP + b"}\n"
    if kind == "key" and whole.startswith(b"{"):
        value = json.loads(whole.splitlines()[0] if b"\n{" in whole else whole)
        value[draw(st.sampled_from(sorted(value)))] = draw(json_values)
        return json.dumps(value).encode() + b"\n"
    return {"empty": b"", "deep": DEEP + b"\n"}.get(kind) or draw(st.binary(max_size=40))


@pytest.mark.parametrize(
    "name", ["recipe.json", "phases.json", "summary.json", "manifest.json", "weights.safetensors", "optimizer.pt"]
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_refused_or_read_as_it_was(run: Path, name: str, data: st.DataObject) -> None:
    path, look = place(run, name), read(run)[name]
    whole, expected = path.read_bytes(), look()
    try:
        path.write_bytes(data.draw(damaged(whole)))
        found, said = answer(look)
        assert said or found == expected
        assert not said or str(path) in said or str(path.parent) in said
    finally:
        path.write_bytes(whole)


def answer(look: Callable[[], Any]) -> tuple[Any, str]:
    """What a reader gives, and what it says where it refuses."""
    try:
        return look(), ""
    except QRecipeError as error:
        said = str(error)
    assert 0 < len(said) < 1000
    return None, said


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_lines_and_starts_and_locks_end_in_no_traceback(run: Path, data: st.DataObject) -> None:
    """Of these any line, list and text may be right: no more is asked than a message."""
    for name, look in (
        ("metrics.jsonl", read(run)["metrics.jsonl"]),
        ("environment.json", lambda: RunFolder.resume(run, recipe=RECIPE, text="").close()),
        (".lock", lambda: RunLock(run).release()),
    ):
        path = run / name
        whole = path.read_bytes()
        try:
            path.write_bytes(data.draw(damaged(whole)))
            answer(look)
        finally:
            path.write_bytes(whole)


def test_the_holder_of_a_lock_whose_text_is_damaged(tmp_path: Path) -> None:
    lock = RunLock(tmp_path)
    for text in (DEEP, b"[]", b"\xff", b'{"pid": "' + b"9" * 3000 + b'", "host": {}}'):
        (tmp_path / ".lock").write_bytes(text)
        with pytest.raises(RunError, match="another process writes this run") as caught:
            RunLock(tmp_path)
        assert len(str(caught.value)) < 500
    lock.release()


@pytest.mark.parametrize("name", ["manifest.json", "weights.safetensors", "optimizer.pt"])
def test_a_checkpoint_that_has_lost_a_file_is_still_one(run: Path, name: str) -> None:
    """Else a run would begin again in silence."""
    path = place(run, name)
    whole = path.read_bytes()
    path.unlink()
    try:
        assert checkpoint.has_checkpoint(path.parent)
        with pytest.raises(TrainError, match=f"damaged.*{name}|{name}.*damaged"):
            load_checkpoint(path.parent)
    finally:
        path.write_bytes(whole)


def test_an_optimizer_that_another_torch_wrote(tmp_path: Path) -> None:
    """PyTorch's own text advises to switch its safety off."""
    state = {"odd": Path("anything that is no plain data")}
    save_checkpoint(tmp_path / "last", Checkpoint({"w": torch.zeros(1)}, training=state))
    with pytest.raises(
        TrainError, match=r"optimizer\.pt: is whole, but torch .* cannot read it; torch .* wrote it"
    ) as caught:
        load_checkpoint(tmp_path / "last")
    assert "weights_only" not in str(caught.value)


def test_files_of_a_version_that_sealed_nothing(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, recipe=RECIPE, text="").close()
    (tmp_path / "recipe.json").write_text(json.dumps(RECIPE))
    (tmp_path / "environment.json").write_text('[{"threads": 1}]')
    (tmp_path / "phases.json").write_text('{"teacher": {"AP": 0.5}}')
    run = RunFolder.read(tmp_path)
    assert (run.recipe(), run.phases()) == (RECIPE, {"teacher": {"AP": 0.5}})
