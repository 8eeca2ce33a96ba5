from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qrecipe.recipe.definition import ScheduleSpec, StageSpec, TrainSpec
from qrecipe.train.schedule import MULTIPLIERS, lr_multiplier, stage_of


def values(spec: ScheduleSpec, total: int, per_epoch: int = 1) -> list[float]:
    return [lr_multiplier(spec, step, per_epoch, total) for step in range(total)]


def test_constant_with_warmup() -> None:
    assert values(ScheduleSpec("constant", warmup=4), 6) == [0.25, 0.5, 0.75, 1, 1, 1]


def test_step_drops_at_epochs() -> None:
    spec = ScheduleSpec("step", drop_at=(2, 3), factor=0.1)
    assert values(spec, 8, per_epoch=2) == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])


def test_cosine_by_hand() -> None:
    half = (1 + math.sqrt(0.5)) / 2
    assert values(ScheduleSpec("cosine"), 5) == pytest.approx([1, half, 0.5, 1 - half, 0])
    assert values(ScheduleSpec("cosine", final=0.2), 3) == pytest.approx([1, 0.6, 0.2])


def test_cosine_begins_after_the_warmup() -> None:
    assert values(ScheduleSpec("cosine", warmup=2), 5) == pytest.approx([0.5, 1, 1, 0.5, 0])


@pytest.mark.parametrize("total", [10, 37, 400])
def test_one_cycle_is_torchs(total: int) -> None:
    final = 0.01
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    reference = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=total, cycle_momentum=False, final_div_factor=1 / (25 * final)
    )
    expected = []
    for _ in range(total):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(expected) < total:
            reference.step()
    assert values(ScheduleSpec("one_cycle", final=final), total) == pytest.approx(expected)


@given(
    name=st.sampled_from(sorted(MULTIPLIERS)),
    warmup=st.integers(0, 20),
    final=st.floats(0, 1),
    total=st.integers(1, 60),
    data=st.data(),
)
def test_always_between_zero_and_one(name: str, warmup: int, final: float, total: int, data: st.DataObject) -> None:
    step = data.draw(st.integers(0, total + 3))
    spec = ScheduleSpec(name, warmup=warmup, final=final, drop_at=(1, 5))  # type: ignore[arg-type]
    assert 0 <= lr_multiplier(spec, step, 3, total) <= 1 + 1e-9


def test_stages_by_epoch() -> None:
    spec = TrainSpec(stages=(StageSpec("a", 2), StageSpec("none", 0), StageSpec("b", 1)))
    assert [stage_of(spec, epoch).name for epoch in (1, 2, 3)] == ["a", "a", "b"]
    with pytest.raises(ValueError, match="no epoch 4"):
        stage_of(spec, 4)
