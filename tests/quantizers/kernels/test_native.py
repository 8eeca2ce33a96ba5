"""The C++ kernels against plain tensor code: values bit for bit, gradients, layouts, threads; how they are built."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from qrecipe.quantizers import Grid
from qrecipe.quantizers.kernels import fused, library, native, reference
from qrecipe.quantizers.kernels.affine import affine_plain
from qrecipe.quantizers.kernels.layout import laid_out
from tests.quantizers.kernels.test_fused import LAYOUTS
from tests.quantizers.tiny_quantizers import activation, calibrate

OFFSETS: tuple[native.Offset, ...] = ("none", "integer", "real")


def both(
    x: Tensor, size: int, axis: int | None, offset: native.Offset, bits: int = 4, spread: int = 1
) -> tuple[list[Tensor], ...]:
    """(result, gradients) by the kernels and by plain tensor code, and a bound of what the reduced ones sum.

    spread: how far apart scales and offsets lie in memory.
    """
    x = x.detach().requires_grad_()
    scale = (torch.rand(size * spread) * 0.5 + 0.1)[::spread]
    scale[::3] *= -1
    scale = scale.requires_grad_()
    shift = None if offset == "none" else (torch.randn(size * spread) * 2)[::spread].requires_grad_()
    rounding = native.Rounding(Grid(bits), offset, axis, 0.25)
    gradient = torch.randn(x.shape)
    leaves = [leaf for leaf in (x, scale, shift) if leaf is not None]
    assert native.supports(x, scale)
    fast = native.fake_quantize(x, scale, shift, rounding)
    wide = (fused.along(value, x, axis) for value in affine_plain(scale, shift, offset != "real", 0.25))
    slow = reference.fake_quantize(x, *wide, Grid(bits), offset != "real")
    grown = gradient.abs().sum() * 0.25 * (2**bits + 100)
    return (
        [fast, *torch.autograd.grad(fast, leaves, gradient)],
        [slow, *torch.autograd.grad(slow, leaves, gradient)],
        [grown],
    )


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("per_head", [True, False], ids=["per head", "per tensor"])
@pytest.mark.parametrize("name", [name for name in LAYOUTS if "empty" not in name])
def test_every_layout_equals_the_reference(name: str, per_head: bool, offset: native.Offset) -> None:
    torch.manual_seed(3)
    fast, slow, (grown,) = both(LAYOUTS[name](), 8 if per_head else 1, 1 if per_head else None, offset)
    assert torch.equal(fast[0], slow[0])
    torch.testing.assert_close(fast[1], slow[1], rtol=1e-6, atol=0)
    for got, expected in zip(fast[2:], slow[2:], strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6 * grown.item())


@pytest.mark.parametrize("offset", OFFSETS)
def test_scales_that_lie_apart_in_memory(offset: native.Offset) -> None:
    torch.manual_seed(5)
    fast, slow, (grown,) = both(torch.randn(4, 64, 33), 64, 1, offset, spread=3)
    assert torch.equal(fast[0], slow[0])
    for got, expected in zip(fast[1:], slow[1:], strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6 * grown.item())


@pytest.mark.parametrize("offset", OFFSETS)
def test_the_number_of_threads_changes_no_bit(offset: native.Offset) -> None:
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            torch.manual_seed(0)
            found.append(both(torch.randn(2, 8, 70, 90), 8, 1, offset)[0])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


def test_values_that_are_not_finite_and_points_half_way() -> None:
    x = torch.tensor([float("nan"), float("inf"), -float("inf"), 0.5, 1.5, 2.5, -0.5, -1.5, 3e38, 1e-42])
    rounding = native.Rounding(Grid(4), "none", None, 1.0)
    got = native.fake_quantize(x, torch.ones(1), None, rounding)
    assert torch.equal(got.nan_to_num(99), torch.tensor([99.0, 7, -8, 0, 2, 2, 0, -2, 7, 0]))


def test_a_tiny_scale_and_a_zero_point_beyond_eight_bits() -> None:
    x = torch.randn(50)
    for scale, shift in ((0.0, 0.1), (0.01, 5.0), (0.01, -5.0), (-0.02, 0.1)):
        leaves = [torch.tensor([value], requires_grad=True) for value in (scale, shift)]
        rounding = native.Rounding(Grid(4), "integer", None, 0.5)
        mine = native.fake_quantize(x, *leaves, rounding)
        theirs = reference.fake_quantize(x, *affine_plain(*leaves, True, 0.5), Grid(4), True)
        assert torch.equal(mine, theirs)
        for a, b in zip(*(torch.autograd.grad(y.sum(), leaves) for y in (mine, theirs)), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_only_what_is_wanted_gets_a_gradient_and_only_the_input_is_kept() -> None:
    x = torch.randn(4, 8, requires_grad=True)
    quantizer = calibrate(activation(), x.detach())
    quantizer.requires_grad_(False)
    result = quantizer(x)
    (gradient,) = torch.autograd.grad(result.sum(), x)
    assert set(gradient.unique().tolist()) <= {0.0, 1.0}
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        quantizer.requires_grad_(True)(x)
    assert {value.data_ptr() for value in kept} == {
        value.data_ptr() for value in (x, quantizer.scale, quantizer.offset) if value is not None
    }


def test_a_product_reads_what_is_laid_out_without_a_copy() -> None:
    heads = torch.randn(2, 50, 8, 16).transpose(1, 2)
    keys = torch.randn(2, 8, 50, 16).transpose(-1, -2)
    channels_last = torch.randn(2, 8, 5, 6).to(memory_format=torch.channels_last)
    assert laid_out(heads).is_contiguous()
    assert laid_out(keys) is keys
    assert laid_out(channels_last) is channels_last
    for value in (laid_out(heads), keys):
        assert value.expand(value.shape).reshape(16, *value.shape[2:]).data_ptr() == value.data_ptr()


def test_the_library_is_compiled_once_for_all_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QRECIPE_CACHE", str(tmp_path))
    made = library._compiled("g++")
    assert made.parent == tmp_path / "kernels"
    monkeypatch.setattr(library.subprocess, "run", None)  # a second compilation would fail
    assert library._compiled("g++") == made
    assert [path.name for path in made.parent.iterdir()] == [made.name]


def test_a_home_that_cannot_be_written_is_no_hindrance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("QRECIPE_CACHE", str(tmp_path / "file"))
    made = library._compiled("g++")
    assert made.exists()
    assert tmp_path not in made.parents


@pytest.mark.parametrize("compiler", ["no-such-compiler", "false"])
def test_without_a_compiler_plain_code_gives_the_same(compiler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(4, 8)
    quantizer = calibrate(activation(), x)
    expected = quantizer(x)
    monkeypatch.setenv("CXX", compiler)
    monkeypatch.setenv("QRECIPE_CACHE", "/proc/nowhere")
    library.library.cache_clear()
    said: list[str] = []
    monkeypatch.setattr(library, "log_fallback", said.append)
    try:
        assert torch.equal(quantizer(x), expected)
        assert torch.equal(quantizer(x), expected)
    finally:
        library.library.cache_clear()
    assert len(said) == 1
    assert ("no C++ compiler" if compiler != "false" else "compiling failed") in said[0]
