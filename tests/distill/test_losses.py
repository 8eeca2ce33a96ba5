"""The distillation loss against loops over pairs, its gradients at the edges, and its mean over processes."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from qrecipe.distill import LOSSES, Match, check_widths, distill_loss, global_divisor, global_mean, query_features
from qrecipe.errors import PlanError


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    batch=st.integers(1, 3),
    students=st.integers(1, 5),
    teachers=st.integers(1, 5),
    share=st.sampled_from([0.0, 0.5, 1.0]),
    weighted=st.booleans(),
)
def test_equals_the_loop(seed: int, batch: int, students: int, teachers: int, share: float, weighted: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(batch, students, 6, generator=generator, dtype=torch.float64)
    teacher = torch.randn(batch, teachers, 6, generator=generator, dtype=torch.float64)
    keep = torch.rand(batch, students, generator=generator) < share
    index = torch.randint(0, teachers, (batch, students), generator=generator)
    weight = torch.rand(batch, students, generator=generator, dtype=torch.float64) if weighted else None
    expected, pairs = 0.0, 0.0
    for b in range(batch):
        for j in range(students):
            if keep[b, j]:
                own = 1.0 if weight is None else weight[b, j].item()
                expected += own * math.dist(student[b, j].tolist(), teacher[b, int(index[b, j])].tolist())
                pairs += own
    total, count = distill_loss(student, teacher, Match(keep, index, weight))
    assert total.item() == pytest.approx(expected, abs=1e-9)
    assert count.item() == pytest.approx(pairs)
    assert global_mean(total, count).item() == pytest.approx(expected / max(pairs, 1), abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_finite_where_student_equals_teacher(name: str) -> None:
    teacher = torch.rand(2, 3, 4)
    student = teacher.clone()
    student[1, 2] += torch.rand(4)
    student.requires_grad_()
    index = torch.arange(3).expand(2, 3)
    total, count = distill_loss(student, teacher, Match(torch.ones(2, 3, dtype=torch.bool), index), name)
    assert count == 6
    total.backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()
    assert student.grad[1, 2].abs().sum() > 0
    torch.testing.assert_close(student.grad[0], torch.zeros(3, 4), rtol=0, atol=1e-6)


def test_l2_gradient() -> None:
    student = torch.randn(1, 4, 3, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(1, 2, 3, dtype=torch.float64)
    match = Match(torch.tensor([[True, False, True, True]]), torch.tensor([[1, 0, 1, 0]]))
    assert torch.autograd.gradcheck(lambda s: distill_loss(s, teacher, match)[0], (student,))


def test_no_pairs_is_a_zero_with_a_graph() -> None:
    student = torch.randn(2, 3, 4, requires_grad=True)
    match = Match(torch.zeros(2, 3, dtype=torch.bool), torch.zeros(2, 3, dtype=torch.int64))
    total, count = distill_loss(student, torch.randn(2, 5, 4), match)
    loss = global_mean(total, count)
    assert loss.item() == 0
    loss.backward()
    assert student.grad is not None
    assert not student.grad.any()


def test_pairs_that_are_not_kept_do_not_matter_even_if_not_finite() -> None:
    student = torch.randn(1, 2, 4)
    student[0, 1] = math.nan
    student.requires_grad_()
    teacher = torch.randn(1, 2, 4)
    teacher[0, 1] = math.inf
    total, _ = distill_loss(student, teacher, Match(torch.tensor([[True, False]]), torch.tensor([[0, 1]])))
    total.backward()
    assert total.isfinite()
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_a_kept_pair_that_is_not_finite_shows() -> None:
    student = torch.full((1, 1, 4), math.nan)
    total, _ = distill_loss(student, torch.zeros(1, 1, 4), Match(torch.tensor([[True]]), torch.tensor([[0]])))
    assert total.isnan()


def test_the_teacher_gets_no_gradient_and_half_precision_is_summed_in_float32() -> None:
    student = torch.randn(1, 2, 4, dtype=torch.bfloat16, requires_grad=True)
    teacher = torch.randn(1, 2, 4, requires_grad=True)
    match = Match(torch.tensor([[True, True]]), torch.tensor([[0, 1]]))
    total, _ = distill_loss(student, teacher, match)
    assert total.dtype is torch.float32
    total.backward()
    assert student.grad is not None
    assert teacher.grad is None


def test_widths() -> None:
    check_widths(256, 256, "distill.targets[0]")
    with pytest.raises(PlanError, match=r"distill\.targets\[0\].*256.*128"):
        check_widths(256, 128, "distill.targets[0]")


def test_divisor_of_one_process() -> None:
    for count, expected in ((0, 1.0), (1, 1.0), (7, 7.0)):
        given_count = torch.tensor(count)
        assert global_divisor(given_count).item() == expected
        assert given_count.item() == count


def test_divisor_reads_the_counts_of_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three processes with 2, 0 and 4 pairs: averaging sum / divisor over them is the mean over all six."""
    counts, sums = [2, 0, 4], [3.0, 0.0, 9.0]
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 3)
    monkeypatch.setattr(dist, "all_reduce", lambda tensor: tensor.fill_(sum(counts)))
    losses = [global_mean(torch.tensor(s), torch.tensor(n)).item() for s, n in zip(sums, counts, strict=True)]
    assert sum(losses) / 3 == pytest.approx(12 / 6)
    mine = torch.tensor(2.0)
    global_divisor(mine)
    assert mine == 2  # the caller's count is not overwritten


def test_ddp_gradient_is_that_of_the_global_mean(tmp_path: Path) -> None:
    """A real group, of one process; an empty batch must still reach every parameter."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        layer = nn.parallel.DistributedDataParallel(nn.Linear(3, 4))
        for kept in (True, False):
            layer.zero_grad()
            student = layer(torch.randn(2, 3, 3))
            match = Match(torch.full((2, 3), kept), torch.zeros(2, 3, dtype=torch.int64))
            global_mean(*distill_loss(student, torch.randn(2, 1, 4), match)).backward()  # type: ignore[no-untyped-call]
            assert layer.module.weight.grad is not None
            assert layer.module.weight.grad.any().item() is kept
    finally:
        dist.destroy_process_group()


def test_features_of_queries() -> None:
    """Each query's channels, head after head, whatever the order of a tap's dimensions."""
    value = torch.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    heads_first, heads_last = query_features(value, "bhqc"), query_features(value, "bqhc")
    for image in range(2):
        for query in range(4):
            assert heads_first[image, query].tolist() == [x for h in range(3) for x in value[image, h, query].tolist()]
        for query in range(3):
            assert heads_last[image, query].tolist() == value[image, query].flatten().tolist()
    assert query_features(value[0], "bqc") is not None
    assert torch.equal(query_features(value[0], "bqc"), value[0])
