"""Freezing of weights that oscillate, against loops over single weights, and through cuts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from qrecipe.errors import RecipeErrors
from qrecipe.quantizers import QuantizedOperand, build
from qrecipe.quantizers.affine import AffineQuantizer
from qrecipe.recipe import recipe_from_mapping
from qrecipe.recipe.definition import EmaSpec, FreezeSpec, QuantizerSpec, TrainSpec
from qrecipe.student import load, save
from qrecipe.termination import listening
from qrecipe.train.freezing import Oscillations
from qrecipe.train.records import Records
from qrecipe.train.trainer import Trainer
from tests.specimens import W4A4, Specimen
from tests.train.distilled_pairs import pair
from tests.train.test_accumulate import in_evaluation
from tests.train.tiny_fits import ENDS, Ending, break_off, followed
from tests.train.two_processes import Shared

SPEC = FreezeSpec(threshold=0.2, final=0.1, momentum=0.05)
EAGER = {"threshold": 0.0, "final": 0.0, "momentum": 0.5}
TRAIN = {
    "stages": [{"name": "all", "epochs": 3}],
    "optimizer": {"lr": 0.03, "betas": [0.0, 0.9]},  # without momentum, so that weights turn back at once
    "ema": {"decay": 0.9, "warmup": 3},
    "accumulate": 2,
    "freeze_oscillating": EAGER,
}


def quantizer_of(*shape: int, offset: str = "none", bits: int = 3) -> AffineQuantizer:
    operand = QuantizedOperand("weight", shape, 0, shape[0], is_weight=True, batched=False)
    kind = "lsq" if offset == "none" else "lsq+"
    found = build(QuantizerSpec(bits, kind, "channel", offset), operand)  # type: ignore[arg-type]
    assert isinstance(found, AffineQuantizer)
    found.calibrated.fill_(True)
    found.count.fill_(math.prod(shape[1:]))
    found.read_buffers()
    found.allow_freezing()
    found.set_mode("on")
    return found


def slow(integers: list[list[int]], steps: int) -> tuple[list[int | None], list[float]]:
    """Algorithm 1 for each weight alone: what it is frozen to, and its frequency. integers: by step and weight."""
    frozen: list[int | None] = []
    frequencies = []
    for weight in range(len(integers[0])):
        previous, mean, frequency, direction, at = integers[0][weight], float(integers[0][weight]), 0.0, 0, None
        for step in range(1, len(integers)):
            now = integers[step][weight] if at is None else at
            moved = (now > previous) - (now < previous)
            frequency = 0.05 * (moved != 0 and direction == -moved) + 0.95 * frequency
            direction, previous = moved or direction, now
            threshold = 0.1 + 0.1 * (1 + math.cos(math.pi * step / steps)) / 2
            if at is None and frequency > threshold:
                at = round(mean)
            mean = 0.05 * now + 0.95 * mean
        frozen.append(at)
        frequencies.append(frequency)
    return frozen, frequencies


def test_it_is_algorithm_1() -> None:
    quantizer, steps = quantizer_of(2, 8), 80
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        quantizer.scale.copy_(torch.tensor([0.5, 0.25]))
    calm = torch.linspace(0.05, 0.9, 8) * torch.tensor([[2.0], [1.0]])
    weights = [calm + 0.1 * torch.randn(2, 8, generator=generator) for _ in range(steps)]
    integers = [(w / torch.tensor([[0.5], [0.25]])).round().clamp(-4, 3).flatten().int().tolist() for w in weights]
    oscillations = Oscillations(torch.nn.ModuleDict({"weight": quantizer}), SPEC)
    with oscillations.watching():
        for step, weight in enumerate(weights):
            for _ in range(1 + step % 2):  # the batches of one step see the same weights
                quantizer(weight)
            oscillations.update(step / steps)
        quantizer.set_mode("off")
        quantizer(weights[0])
        oscillations.update(1.0)
    frozen, frequencies = slow(integers, steps)
    assert 3 < sum(at is not None for at in frozen) < 14
    assert quantizer.is_frozen.flatten().tolist() == [at is not None for at in frozen]
    assert quantizer.frozen.flatten().tolist() == [at or 0 for at in frozen]
    assert oscillations.values["weight"]["frequency"].flatten().tolist() == pytest.approx(frequencies, abs=1e-6)
    assert oscillations.share() == sum(at is not None for at in frozen) / 16


@pytest.mark.parametrize("offset", ["none", "integer", "real"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_frozen_weight_moves_with_its_scale_alone(offset: str, dtype: torch.dtype) -> None:
    plain, held = (quantizer_of(2, 5, offset=offset).to(dtype) for _ in range(2))
    weight = torch.linspace(-0.9, 0.8, 10, dtype=dtype).reshape(2, 5)
    which = torch.tensor([[True, False, True, False, False], [False, False, False, False, True]])
    integers = torch.tensor([[-4, 0, 2, 0, 0], [0, 0, 0, 0, 1]])
    for quantizer in (plain, held):
        with torch.no_grad():
            quantizer.scale.copy_(torch.tensor([0.3, 0.2]))
            if quantizer.offset is not None:
                quantizer.offset.copy_(torch.tensor([0.27, -0.21]))
    held.freeze(which, integers)
    held.freeze(which, integers + 1)  # for good
    real, free = weight.clone().requires_grad_(), weight.clone().requires_grad_()
    given = held(real)
    encoding = held.encoding()
    torch.testing.assert_close(given, encoding.restore(held.integers(weight)).to(dtype))
    assert torch.equal(held.integers(weight)[which], integers[which].int())
    assert torch.equal(given[~which], plain(free)[~which])
    slope = torch.linspace(1, 2, 10, dtype=dtype).reshape(2, 5)
    given.backward(slope)
    plain(free).backward(slope.where(~which, 0))
    assert isinstance(real.grad, Tensor)
    assert isinstance(free.grad, Tensor)
    assert torch.equal(real.grad, free.grad)
    factor = 1 / math.sqrt(5 * 3)
    shift = 0 if held.offset is None else held.offset.detach() / held.scale.detach()
    own = (slope * (integers - (encoding.zero_point + shift)[:, None]) * which).sum(1) * factor
    grads = [quantizer.scale.grad for quantizer in (held, plain)]
    assert grads[0] is not None
    assert grads[1] is not None
    torch.testing.assert_close(grads[0], grads[1] + own.to(dtype), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("how", ["kill", "signal"])
def test_a_resumed_training_freezes_the_same(toy: Specimen, how: Ending, tmp_path: Path) -> None:
    """With accumulated steps and an average."""

    def fit(folder: str, resume: bool = False, **others: Any) -> dict[str, Tensor]:
        torch.manual_seed(0)
        module = in_evaluation(pair(toy, train=TRAIN))
        records = Records(tmp_path / folder)
        loader, spec = Shared(toy.batch((1, 2, 1, 0, 1), seed=3)), module.student.recipe.train
        result = Trainer(module, loader, spec, records, **others).fit(resume)
        shares = [line["frozen"] for line in result.history]
        assert 0 < shares[-1] < 0.9
        assert shares == sorted(shares)
        return followed(records.folder / "last")

    whole = fit("whole")
    with listening(), pytest.raises(ENDS[how]):
        fit("parts", listener=break_off(3, 1, how))
    parts = fit("parts", resume=True)
    assert set(parts) == set(whole)
    for name, value in whole.items():
        assert torch.equal(parts[name], value), name


def test_a_stored_student_has_its_frozen_weights(toy: Specimen, tmp_path: Path) -> None:
    student = pair(toy, train=TRAIN).student.eval()
    quantizers = [one for one in student.quantizers.values() if "is_frozen" in one.state_dict()]
    assert [one.operand.is_weight for one in student.quantizers.values()].count(True) == len(quantizers)
    images = toy.batch().pixel_values
    free = student.predict(images).logits
    for quantizer in quantizers:
        assert isinstance(quantizer, AffineQuantizer)
        quantizer.freeze(torch.ones_like(quantizer.is_frozen), torch.ones_like(quantizer.frozen))
    held = student.predict(images).logits
    assert not torch.equal(held, free)
    save(student, tmp_path)
    assert torch.equal(load(tmp_path, toy.eager()).predict(images).logits, held)


def test_a_recipe_asks_for_it() -> None:
    def read(quantize: Any) -> TrainSpec:
        train = {"epochs": 1, "freeze_oscillating": {}, "ema": {}}
        data = {"version": 1, "model": {"architecture": "demo"}, "train": train, "quantize": quantize}
        return recipe_from_mapping(data).train

    spec = read(W4A4)
    assert (spec.freeze_oscillating, spec.ema) == (FreezeSpec(), EmaSpec())
    with pytest.raises(RecipeErrors, match=r"train.freeze_oscillating: there are no quantized weights to freeze"):
        read({})
    bent = {"weight": {"bits": 4, "quantizer": "dorefa", "per": "channel"}}
    with pytest.raises(RecipeErrors, match=r"train.freeze_oscillating: dorefa bends weights .*another quantizer"):
        read(bent)
    rule = {"match": "role:head", "weight": {"quantizer": "lsq"}}
    assert read({**bent, "rules": [rule]}).freeze_oscillating is not None
