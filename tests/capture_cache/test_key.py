"""The key of a capture changes with everything that the capture depends on, and with nothing else."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from qrecipe.capture_cache import key as keys
from qrecipe.capture_cache.key import key_of
from qrecipe.capture_cache.plain import Unkeepable
from qrecipe.models.families import build_family
from qrecipe.recipe.definition import LossSpec
from tests.tiny_detectors import TINY, tiny_demo, tiny_detr
from tests.toys import ToyDetector, call, picture


class Setting:
    """An object of one's own that a model holds."""

    __slots__ = ("__secret", "levels")

    def __init__(self, levels: int, secret: int = 0) -> None:
        self.levels, self.__secret = levels, secret


class Model(ToyDetector):
    def __init__(self, **own: Any) -> None:
        super().__init__()
        for name, value in own.items():
            setattr(self, name, value)


def text(model: nn.Module | None = None, inputs: dict[str, Tensor] | None = None, called: Any = call) -> str:
    return key_of(Model() if model is None else model, called, picture() if inputs is None else inputs).text


def other_call(model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
    return model(**inputs), {"extra": inputs["pixel_values"]}


@pytest.fixture
def plain() -> str:
    return text()


def test_the_same_model_has_the_same_key_whatever_its_weights(plain: str) -> None:
    torch.manual_seed(5)
    assert text(Model()) == plain
    assert text(inputs={name: value + 1 for name, value in picture().items()}) == plain


def test_it_is_the_same_in_another_process() -> None:
    """Of two that begin alike: this one may have run tests that patch what a model reads."""
    code = "from tests.capture_cache.test_key import text; print(text())"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, stdout=subprocess.PIPE, text=True
        )
        for seed in ("1", "2")
    ]
    told = [one.communicate()[0].strip() for one in both]
    assert told[0] == told[1] != ""


ATTRIBUTES: dict[str, tuple[Any, Any]] = {
    "a number": (1, 2),
    "a number's kind": (1, 1.0),
    "a text": ("a", "b"),
    "a list": ([1, 2], [2, 1]),
    "a set": ({"a", "b"}, {"a", "c"}),
    "a table": ({"a": 1}, {"a": 2}),
    "its order": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "nothing": (None, 0),
    "an object": (Setting(1), Setting(2)),
    "what it hides": (Setting(1, 1), Setting(1, 2)),
    "a function": (torch.relu, torch.sigmoid),
    "a lambda": (lambda x: x + 1, lambda x: x + 2),
    "a partial": (functools.partial(max, 1), functools.partial(max, 2)),
    "a type": (torch.float32, torch.float64),
    "a class": (nn.ReLU, nn.GELU),
    "a tensor that is no buffer": (torch.ones(2), torch.zeros(2)),
    "its shape": (torch.ones(2), torch.ones(2, 1)),
    "a module's setting": (nn.Dropout(0.1), nn.Dropout(0.2)),
    "a module's mode": (nn.Dropout(0.1), nn.Dropout(0.1).eval()),
    "a module's class": (nn.ReLU(), nn.GELU()),
}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_what_a_model_holds_is_part_of_it(name: str) -> None:
    one, other = ATTRIBUTES[name]
    assert text(Model(own=one)) == text(Model(own=one))
    assert text(Model(own=one)) != text(Model(own=other))


def _frozen() -> nn.Module:
    model = Model()
    model.class_head.weight.requires_grad_(False)
    return model


def _tied() -> nn.Module:
    model = Model()
    model.layers[1].cross_attention.q_proj.weight = model.layers[0].cross_attention.q_proj.weight  # type: ignore[union-attr]
    return model


def _buffered(persistent: bool) -> nn.Module:
    model = Model()
    model.register_buffer("own", torch.ones(2), persistent=persistent)
    return model


def _patched() -> nn.Module:
    model = Model()
    model.forward = functools.partial(other_call, model)  # type: ignore[method-assign]
    return model


def _hooked() -> nn.Module:
    model = Model()
    model.register_forward_hook(lambda module, given, result: None)
    return model


CHANGES: dict[str, Callable[[], nn.Module]] = {
    "a parameter's shape": lambda: ToyDetector(columns=6),
    "its type": lambda: Model().double(),
    "its layout": lambda: Model().to(memory_format=torch.channels_last),
    "gradients": _frozen,
    "tied parameters": _tied,
    "a buffer": lambda: _buffered(True),
    "a buffer that is not stored": lambda: _buffered(False),
    "the mode": lambda: Model().eval(),
    "a forward of its own": _patched,
    "a hook": _hooked,
}


def test_how_a_model_is_built_is_part_of_it(plain: str) -> None:
    found = {name: text(change()) for name, change in CHANGES.items()}
    assert len({plain, *found.values()}) == len(CHANGES) + 1


def test_hooks_count_by_what_they_do_and_not_by_their_numbers() -> None:
    one = text(_hooked())
    assert text(_hooked()) == one  # torch has counted on


def test_inputs_and_the_call_are_part_of_it(plain: str) -> None:
    given = picture()["pixel_values"]
    found = [
        text(inputs=picture(3)),
        text(inputs=picture(height=32)),
        text(inputs={"pixel_values": given.float()}),
        text(inputs={"image": given}),
        text(inputs={"pixel_values": given.to(memory_format=torch.channels_last)}),
        text(called=other_call),
    ]
    assert len({plain, *found}) == len(found) + 1


def test_the_family_is_part_of_it() -> None:
    model = tiny_demo()
    losses = (LossSpec(), LossSpec(), LossSpec(auxiliary=False))
    one, same, other = (key_of(model, build_family(model, loss).forward, picture()).text for loss in losses)
    assert one == same != other


def test_the_configuration_is_part_of_it() -> None:
    assert text(tiny_detr()) == text(tiny_detr()) != text(tiny_detr(auxiliary_loss=True))


@pytest.mark.parametrize("name", TINY)
def test_every_family_has_a_key(name: str) -> None:
    keyed = []
    for _ in range(2):
        model = TINY[name]().eval()
        family = build_family(model, LossSpec())
        pixels = torch.rand(2, 3, 64, 96)
        keyed.append(key_of(model, family.forward, family.inputs(pixels, None)))
    assert keyed[0] == keyed[1]


@pytest.fixture
def switched() -> Iterator[None]:
    """The switches of torch as they were, afterwards."""
    yield
    torch.set_default_dtype(torch.float32)
    torch.use_deterministic_algorithms(False)
    torch.backends.mha.set_fastpath_enabled(True)


@pytest.mark.usefixtures("switched")
def test_torch_s_switches_are_part_of_it() -> None:
    model, found = Model(), set[str]()
    for switch in (
        lambda: None,
        lambda: torch.set_default_dtype(torch.float64),
        lambda: torch.use_deterministic_algorithms(True),
        lambda: torch.backends.mha.set_fastpath_enabled(False),
    ):
        switch()
        found.add(text(model))
    assert len(found) == 4


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        ("torch", "__version__"),
        ("torch.version", "git_version"),
        ("qrecipe", "__version__"),
        ("sys", "version"),
    ],
)
def test_versions_are_part_of_it(monkeypatch: pytest.MonkeyPatch, plain: str, owner: str, name: str) -> None:
    monkeypatch.setattr(sys.modules[owner], name, "0.0")
    assert text() != plain


def test_the_version_of_transformers_is_part_of_it(monkeypatch: pytest.MonkeyPatch, plain: str) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "0.0")
    assert text() != plain


def test_the_code_that_captures_is_part_of_it(monkeypatch: pytest.MonkeyPatch, plain: str) -> None:
    monkeypatch.setattr(keys, "makers", lambda: "others")
    assert text() != plain


def test_what_was_put_into_a_module_or_class_is_part_of_it(monkeypatch: pytest.MonkeyPatch, plain: str) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("tests.toys.DecoderLayer.forward", other_call)
        changed = text()
    with monkeypatch.context() as patch:
        patch.setattr("tests.toys.picture", other_call)
        put = text()
    assert len({plain, changed, put}) == 3
    assert text() == plain


def test_what_cannot_be_told_is_not_kept() -> None:
    for held in (threading.Lock(), torch.Generator(), iter([1]), torch.ones(2).to_sparse()):
        with pytest.raises(Unkeepable, match="the model holds"):
            text(Model(own=held))
    space: dict[str, Any] = {"__name__": "typed in"}
    exec("class Typed:\n    pass", space)
    sys.modules["typed in"] = type(sys)("typed in")
    try:
        with pytest.raises(Unkeepable, match="in no file"):
            text(Model(own=space["Typed"]()))
    finally:
        del sys.modules["typed in"]


def test_a_model_may_hold_itself() -> None:
    model = Model(own=[])
    model.own.append(model)  # type: ignore[operator, union-attr]
    assert len(text(model)) == 64


def test_paths_and_arrays_are_told_apart() -> None:
    import numpy

    assert text(Model(own=Path("a"))) != text(Model(own=Path("b")))
    assert text(Model(own=numpy.ones(2))) != text(Model(own=numpy.zeros(2)))
