"""What tests of whole commands run in: captures that are made once, a cache of their own, one thread."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from qrecipe.experiment import workspace
from qrecipe.student import Original, capture_original, store

_ORIGINALS: dict[tuple[str, str], Original] = {}


@contextmanager
def command_surroundings(cache: Path) -> Iterator[None]:
    """The synthetic sets in a folder of the tests, captures that are kept, and one thread; afterwards all is as it was.

    Capturing is most of a tiny command's time. A saved student's weights are loaded after its capture, so there a
    capture of the same structure will do. Of tiny tensors more threads only wait for one another.
    """
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QRECIPE_CACHE", str(cache))
        patch.setattr(workspace, "capture_original", partial(_original, weights=True))
        patch.setattr(store, "capture_original", partial(_original, weights=False))
        patch.setattr(import_module("qrecipe.student.compile"), "capture_original", partial(_original, weights=True))
        patch.setattr(logging.getLogger("torch.__trace"), "propagate", False)  # pytest would format all of it
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.set_rng_state(state)


def _original(
    model: nn.Module,
    family: Any,
    image_input: Any,
    example: Any = None,
    label_map: Any = None,
    *,
    weights: bool,
    **_: Any,
) -> Original:
    structure = repr((model, family.name, family.loss_spec, image_input))
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode() + value.numpy().tobytes())
    key = (structure, digest.hexdigest())
    if not weights:
        key = next((found for found in _ORIGINALS if found[0] == structure), key)
    if key not in _ORIGINALS:
        _ORIGINALS[key] = capture_original(model, family, image_input, cache=True)
    return replace(_ORIGINALS[key], label_map=label_map)


def hub_cache(root: Path, name: str, patch: pytest.MonkeyPatch, revision: str = "main") -> Path:
    """The snapshot of a repository in a hub cache of its own, which the hub's library reads without a network."""
    from huggingface_hub import constants

    patch.setattr(constants, "HF_HUB_OFFLINE", True)
    patch.setattr(constants, "HF_HUB_CACHE", str(root / "hub"))
    repository = root / "hub" / f"models--{name.replace('/', '--')}"
    folder = repository / "snapshots" / ("0" * 40)
    folder.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / revision).write_text("0" * 40)
    return folder
