"""The forms in which a model may be named, and clear words on what is none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from qrecipe.commands.starter.model import FORMS, starter_model
from qrecipe.errors import ModelError
from tests.starter_files import factory


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_a_module_s_function(monkeypatch: pytest.MonkeyPatch) -> None:
    factory(Path("things/mine"))
    monkeypatch.syspath_prepend(str(Path.cwd()))
    found = starter_model("things.mine.build:build")
    for name in ("things", "things.mine", "things.mine.build"):
        monkeypatch.delitem(sys.modules, name)
    assert found.section == {"factory": "things.mine.build:build", "labels_argument": "num_classes"}
    assert (found.name, found.labels) == ("mine", 80)


def test_an_architecture_is_random() -> None:
    assert starter_model("detr").random
    assert starter_model("detr").section == {"architecture": "detr"}


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("dmo", ('did you mean "demo"?', "path/to/file.py:function")),
        ("gone/", (FORMS,)),
        ("mine/build.py", ("the function is missing", "mine/build.py:FUNCTION")),
        ("mine/gone.py:build", ("no file ",)),
        ("mine/build.py:bild", ('no function "bild"', "build, fixed")),
        ("mine/build.py:needy", ("the factory needs width, which",)),
        ("weights.safetensors", ("weights alone do not say what to build",)),
        ("mine", ("no config.json in ",)),
        ("nobody/nothing@v1", ("is not in the cache", "there is no folder nobody/nothing here either", "@" )),
        ("nothing.here:build", ("raised ModuleNotFoundError",)),
    ],
)  # fmt: skip
def test_what_is_none(typed: str, words: tuple[str, ...]) -> None:
    factory(Path("mine"))
    with pytest.raises(ModelError) as raised:
        starter_model(typed)
    assert str(raised.value).startswith(f"--model {typed}: ")
    assert all(word in str(raised.value) for word in words), raised.value
