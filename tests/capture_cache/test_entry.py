"""A capture comes back from its bytes as it was, and damaged bytes are known as such."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from qrecipe.capture import capture
from qrecipe.capture_cache.entry import MAGIC, DamagedEntry, Entry, capture_from_plain, capture_to_plain
from qrecipe.capture_cache.plain import Unkeepable
from qrecipe.capture_cache.programs import target_from_plain, target_to_plain
from qrecipe.planning import describe
from qrecipe.student import Original, make_plan
from tests.capture_cache.sameness import again, require_same
from tests.specimens import ALIGN, TARGETS, W4A4, Specimen, a_recipe
from tests.toys import call, picture


@pytest.fixture(scope="module")
def whole(toy: Specimen) -> bytes:
    """An entry of the toy."""
    return _bytes(toy)


def test_it_comes_back_as_it_was(specimen: Specimen) -> None:
    found = again(specimen.captured, specimen.model)
    require_same(found, specimen.captured, specimen.inputs(2, 64, 96))
    require_same(found, specimen.captured, specimen.inputs(1, 96, 64))


def test_it_gives_the_same_plan(specimen: Specimen) -> None:
    recipe = a_recipe(W4A4, align=ALIGN, targets=TARGETS)
    original = Original(again(specimen.captured, specimen.model), specimen.family, specimen.original.input)
    mine, theirs = (json.dumps(describe(make_plan(own, recipe))) for own in (original, specimen.original))
    assert mine == theirs


def test_it_holds_no_parameters(demo: Specimen) -> None:
    size = sum(value.numel() * value.element_size() for value in demo.model.state_dict().values())
    assert len(_bytes(demo)) < size / 4


def test_it_is_read_for_other_weights(demo: Specimen) -> None:
    other = demo.eager()
    with torch.no_grad():
        next(other.parameters()).add_(1)
    found = capture_from_plain(capture_to_plain(demo.captured), other)
    assert torch.equal(next(found.root.parameters()), next(other.parameters()))


@settings(max_examples=200)
@given(st.data())
def test_every_damaged_byte_is_seen(whole: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[at] ^= data.draw(st.integers(1, 255))
    for damaged in (bytes(flipped), whole[:at], whole + whole[: at + 1]):
        with pytest.raises(DamagedEntry):
            Entry.from_bytes(damaged)


@settings(max_examples=40)
@given(st.data())
def test_what_somebody_else_wrote_is_refused_or_is_a_capture(toy: Specimen, whole: bytes, data: st.DataObject) -> None:
    """With a checksum that is right: nothing but ``DamagedEntry`` comes out of it."""
    plain: Any = Entry.from_bytes(whole).data
    places = list(_places(plain))
    holder, key = places[data.draw(st.integers(0, len(places) - 1))]
    holder[key] = data.draw(st.sampled_from([None, -1, 10**9, "", "os.system", ["node", 0], ["list"], {}, [], True]))
    entry = Entry.from_bytes(Entry("key", {}, plain).to_bytes())
    try:
        found = capture_from_plain(entry.data, toy.model)
    except DamagedEntry:
        return
    assert set(found.programs) == {"train", "eval"}


def test_one_of_an_older_version_is_refused(whole: bytes) -> None:
    older = MAGIC.replace(b"1\n", b"0\n") + whole[len(MAGIC) :]
    with pytest.raises(DamagedEntry, match="version"):
        Entry.from_bytes(older)


def test_one_of_another_model_is_refused(toy: Specimen, demo: Specimen) -> None:
    with pytest.raises(DamagedEntry):
        capture_from_plain(capture_to_plain(toy.captured), demo.model)


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "ops.aten", "operator.__import__", "torch.load", ""])
def test_only_operators_are_called(name: str) -> None:
    with pytest.raises((ValueError, AttributeError)):
        target_from_plain(name)


def test_a_function_that_is_no_operator_is_not_kept() -> None:
    with pytest.raises(Unkeepable, match="no operator"):
        target_to_plain(print)


class Constants(nn.Module):
    """A constant of each kind, a list and a size among its values, and a symbolic float."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.offsets = torch.tensor([0.5, -1.0])  # no buffer

    def forward(self, pixel_values: Tensor) -> Mapping[str, Any]:
        height = pixel_values.shape[2]
        halves = pixel_values.chunk(2, 1) if pixel_values.shape[1] == 4 else pixel_values.split([1, 2], 1)
        table = torch.tensor([[1, 2], [3, 4]])
        moved = halves[0] + self.offsets.sum().to(halves[0].dtype) + table.sum() / (2.0 * height)
        return {"logits": moved * self.scale[0], "pred_boxes": (halves[1].sum(), [table.to(moved.dtype)])}


def test_constants_come_back() -> None:
    model = Constants().double()
    found = capture(model, call, picture())
    names = [name for name, _ in found.root.named_buffers()]
    assert len(names) >= 2
    require_same(again(found, model), found, picture(1, 10, 12))


def _bytes(specimen: Specimen) -> bytes:
    return Entry("key", {}, capture_to_plain(specimen.captured)).to_bytes()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key in value if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def test_files_and_key_come_back(whole: bytes) -> None:
    entry = replace(Entry.from_bytes(whole), files={"a.py": "1"})
    assert Entry.from_bytes(entry.to_bytes()) == entry
