"""Where the fused kernels cannot run, it is said once and the reference runs instead."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor

from qrecipe.quantizers import Grid
from qrecipe.quantizers.kernels import compiled as kernels
from qrecipe.quantizers.kernels import fused, reference

pytestmark = pytest.mark.usefixtures("fused_at_any_size")


def test_no_compiler_is_said_once_and_the_reference_runs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    x = torch.randn(4, 64)
    expected = fused.fake_quantize(x, torch.full((1,), 0.3), torch.zeros(1), Grid(4), True)
    monkeypatch.setattr(kernels.shutil, "which", lambda name: None)
    kernels.warmed.cache_clear()
    kernels.log_fallback.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                got = fused.fake_quantize(x, torch.full((1,), 0.3), torch.zeros(1), Grid(4), True)
                assert torch.equal(got, expected)
    finally:
        kernels.warmed.cache_clear()
    assert len([record for record in caplog.records if "C++ compiler" in record.message]) == 1


def test_a_compile_that_fails_is_said_and_the_reference_runs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*tensors: Tensor) -> Tensor:
        raise RuntimeError("the compiler said no\nat length")

    monkeypatch.setattr(kernels, "compiled_kernels", lambda: (fail, fail))
    kernels.warmed.cache_clear()
    kernels.log_fallback.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            fused.fake_quantize(torch.randn(4, 64), torch.ones(1), torch.zeros(1), Grid(4), True)
    finally:
        kernels.warmed.cache_clear()
    assert "the compiler said no" in caplog.text
    assert "at length" not in caplog.text


def test_the_environment_turns_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*arguments: object) -> None:
        raise AssertionError("the fused kernel was asked for")

    x = torch.randn(4, 64)
    monkeypatch.setattr(fused, "forward_kernel", never)
    with pytest.raises(AssertionError):
        fused.fake_quantize(x, torch.ones(1), torch.zeros(1), Grid(4), True)
    monkeypatch.setenv("QRECIPE_FUSED", "0")
    got = fused.fake_quantize(x, torch.ones(1), torch.zeros(1), Grid(4), True)
    assert torch.equal(got, reference.fake_quantize(x, torch.ones(1), torch.zeros(1), Grid(4), True))
