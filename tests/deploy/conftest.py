"""One tiny run's student, exported in both modes, once."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import qrecipe
from tests import tiny_commands as tiny
from tests.deploy.exported import Files
from tests.tiny_commands import Finished


@pytest.fixture(scope="session")
def files(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The tiny run's student in both modes."""
    folder = tmp_path_factory.mktemp("exported")
    paths = {mode: folder / f"{mode}.onnx" for mode in ("integer", "packed")}
    with translated_once():
        said = {
            mode: tiny.qrecipe("export", finished.folder, "--to", "onnx", "--out", path, "--mode", mode).fine
            for mode, path in paths.items()
        }
        told = json.loads(tiny.qrecipe("export", finished.folder, "--out", folder / "again.onnx", "--json").out)
    return Files(qrecipe.load(finished.folder / "student"), paths, said, told)


@contextmanager
def translated_once() -> Iterator[None]:
    """torch's exporter takes most of an export's time: what it gives for the one mode serves the other."""
    from qrecipe.deploy import translate

    own, kept = translate.translate, []

    def once(*arguments: Any) -> Any:
        if not kept:
            kept.append(own(*arguments))
        return copy.deepcopy(kept[0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(translate, "translate", once)
        yield
