"""The files of code that a capture depends on: an edit of any of them is seen, and no other is looked at."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from qrecipe.capture_cache.key import Key, key_of
from qrecipe.capture_cache.plain import Unkeepable
from qrecipe.capture_cache.sources import files_that_run, is_own, loaded_from
from qrecipe.models.loading.factories import call_factory, factory_module
from qrecipe.models.model_place import ModelPlace, error_at_model
from tests.toys import call, picture

FILES = {
    "build.py": "import parts.model\ndef build():\n    return parts.model.Own()\n",
    "parts/__init__.py": "",
    "parts/model.py": (
        "from torch import nn\nfrom .layers import double\nfrom .settings import POWER\nimport parts.spare as spare\n"
        "class Own(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.one = nn.Conv2d(3, 3, 1)\n    def forward(self, pixel_values):\n        from parts import late\n"
        "        return double(self.one(pixel_values)) ** POWER\n"
    ),
    "parts/layers.py": "def double(x):\n    return x * 2\n",
    "parts/settings.py": "POWER = 2\n",
    "parts/spare.py": "",
    "parts/late.py": "",
    "unrelated.py": "",
}
"""A model of several files: its factory, and what is imported by name, as a module, and only when it runs."""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    yield tmp_path
    _forget()


def _forget() -> None:
    for name in list(sys.modules):
        if name.split(".")[0] == "parts" or name.startswith("qrecipe_factory_build"):
            del sys.modules[name]


def keyed(folder: Path) -> Key:
    """As a new process finds it."""
    _forget()
    factory = f"{folder / 'build.py'}:build"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)
        model = call_factory(factory, {}, ModelPlace(error_at_model))
    return key_of(model, call, picture(), [factory_module(factory)])


def test_every_file_that_is_imported_is_part_of_it(folder: Path) -> None:
    first = keyed(folder)
    assert {str(Path(file).relative_to(folder)) for file in first.files if file.startswith(str(folder))} == {*FILES} - {
        "unrelated.py",
        "parts/late.py",
    }
    assert keyed(folder) == first
    (folder / "unrelated.py").write_text("x = 1\n")
    assert keyed(folder) == first
    for name in sorted(set(FILES) - {"unrelated.py", "parts/late.py"}):
        (folder / name).write_text(FILES[name] + "# edited\n")
        edited = keyed(folder)
        assert edited.text != first.text, name
        (folder / name).write_text(FILES[name])
        assert keyed(folder).text == first.text, name


def test_a_file_that_changed_since_it_was_loaded_is_not_trusted(folder: Path) -> None:
    keyed(folder)
    model = sys.modules["parts.model"].Own()
    later = time.time() + 5
    os.utime(folder / "parts" / "settings.py", (later, later))
    with pytest.raises(Unkeepable, match=r"settings\.py has changed since it was loaded"):
        key_of(model, call, picture())


def test_code_that_runs_is_found(folder: Path) -> None:
    keyed(folder)
    model = sys.modules["parts.model"].Own()
    sys.path.insert(0, str(folder))
    try:
        with files_that_run() as ran:
            model(torch.ones(1, 3, 4, 4))
    finally:
        sys.path.remove(str(folder))
    own = {module.__name__ for module in loaded_from(ran)}
    assert {"parts.model", "parts.layers", "parts.late"} <= own
    assert "parts.settings" not in own  # nothing of it runs: it is found as an import


def test_code_that_is_in_no_module_is_not_trusted(tmp_path: Path) -> None:
    code = compile("x = 1", str(tmp_path / "gone.py"), "exec")
    with files_that_run() as ran:
        exec(code)
    with pytest.raises(Unkeepable, match="no module"):
        loaded_from(ran)


def test_what_is_installed_is_not_the_users() -> None:
    import transformers

    for module in (torch, transformers, os, sys.modules["qrecipe.errors"]):
        assert not is_own(str(module.__file__))
    assert not is_own("<string>")
    assert is_own(__file__)
