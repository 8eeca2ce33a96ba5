"""What a resumed run may have otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from qrecipe.run.folder import differences
from qrecipe.run.free_keys import comparable

RUN: dict[str, Any] = {"name": "a", "train": {"batch_size": 8, "clip_norm": 0.1}, "output": "here"}


@pytest.mark.parametrize(
    "changed",
    [
        {"output": "there"},
        {"data": {"workers": 4}},
        {"train": {"batch_size": 4, "accumulate": 2, "clip_norm": 0.1}},
        {"train": {"batch_size": 1, "accumulate": 8, "clip_norm": 0.1}},
        {"train": {"batch_size": 8, "checkpointing": True, "clip_norm": 0.1}},
        {"train": {"clip_norm": 0.1}},  # 8 is what it is by default
    ],
)
def test_what_changes_no_result(changed: dict[str, Any]) -> None:
    for pair in ((RUN, {**RUN, **changed}), ({**RUN, **changed}, RUN)):
        assert differences(*comparable(*pair)) == []


@pytest.mark.parametrize(
    ("changed", "lines"),
    [
        ({"data": {"workers": 4, "limit": 3}}, ['data: absent in the run, {"limit": 3} now']),
        ({"train": {"batch_size": 4, "clip_norm": 0.1}}, ["train.batch_size: 8 in the run, 4 now"]),
        (
            {"train": {"batch_size": 4, "accumulate": 2}},
            ['train: {"clip_norm": 0.1} in the run, absent now'],
        ),
        (
            {"train": {"batch_size": 4, "accumulate": 4, "clip_norm": 0.1}},
            ["train.batch_size: 8 in the run, 4 now", "train.accumulate: absent in the run, 4 now"],
        ),
    ],
)
def test_what_changes_results_is_named(changed: dict[str, Any], lines: list[str]) -> None:
    assert differences(*comparable(RUN, {**RUN, **changed})) == lines


def test_neither_is_written_into() -> None:
    new = {"train": {"batch_size": 8}, "data": {"workers": 1}}
    comparable(RUN, new)
    assert new == {"train": {"batch_size": 8}, "data": {"workers": 1}}
