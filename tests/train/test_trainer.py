"""The loop: what it learns, reports and stores, and where it stops."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from qrecipe.errors import TrainError
from qrecipe.recipe.definition import ScheduleSpec, StageSpec, TrainSpec
from qrecipe.run.checkpoint import load_checkpoint
from qrecipe.run.lines import JsonLines
from qrecipe.train.denormals import are_flushed, set_flushed
from qrecipe.train.events import EpochEnded, StepTaken, TrainingEvent, TrainingStarted
from qrecipe.train.protocols import Trainable
from tests.tiny_training import TinyLoader, TinyScores, TinyTrainable
from tests.train.tiny_fits import SPEC, fit, on_step, same, scorer, weights


def test_a_trainable_fits_the_protocol() -> None:
    trainable: Trainable[torch.nn.Module] = TinyTrainable()
    assert trainable.student is not None


def test_progress_is_a_function_of_the_step_also_after_a_resume(tmp_path: Path) -> None:
    whole = TinyTrainable()
    fit(whole, TinyLoader(), SPEC, folder=tmp_path / "whole")
    assert whole.progress == [step / 15 for step in range(15)]
    first, second = TinyTrainable(), TinyTrainable()
    fit(first, TinyLoader(), SPEC, folder=tmp_path / "parts", stop_after=2)
    fit(second, TinyLoader(), SPEC, folder=tmp_path / "parts", resume=True)
    assert first.progress + second.progress == whole.progress


def test_training_learns_and_reports(tmp_path: Path) -> None:
    trainable = TinyTrainable()
    events: list[TrainingEvent] = []
    result = fit(
        trainable,
        TinyLoader(),
        SPEC,
        folder=tmp_path / "run",
        evaluate=scorer(0.9, 0.9, 0.1, 0.3, 0.3),
        is_backbone=lambda name: name.startswith("backbone"),
        listener=events.append,
        extra={"recipe": {"name": "tiny"}},
    )
    steps = [event for event in events if isinstance(event, StepTaken)]
    epochs = [event.record for event in events if isinstance(event, EpochEnded)]
    tables = [event.groups for event in events if isinstance(event, TrainingStarted)]
    # the first stage scores higher, and is not what was asked for; of equals the first is kept
    assert (result.best_epoch, result.best_ap, result.checkpoint) == (4, 0.3, tmp_path / "run" / "best")
    assert trainable.stages == [("backbone.*",), ("backbone.*",), None, None, None]
    assert tables == [result.groups]
    assert [group.name for group in result.groups] == [
        "backbone", "backbone, no decay", "rest", "rest, no decay", "quantizer",
    ]  # fmt: skip
    assert result.groups[2].names == ("head.weight", "projection.weight")
    assert [(p.epoch, p.step, p.steps, p.epochs) for p in steps] == [
        (e, s, 3, 5) for e in range(1, 6) for s in (1, 2, 3)
    ]
    assert steps[-1].seconds_left == 0
    assert steps[0].seconds_left > 0
    assert steps[0].lr == pytest.approx(1e-2 / 25 / 2)
    lines = JsonLines(tmp_path / "run" / "metrics.jsonl").read()
    assert lines == epochs == list(result.history)
    assert [line["stage"] for line in lines] == ["backbone"] * 2 + ["full"] * 3
    assert [line["best"] for line in lines] == [False, False, True, True, False]
    assert lines[3]["val"] == {"AP": 0.3, "per_class": {"thing": 0.3}}
    assert lines[3]["step"] == 12
    for number, line in enumerate(lines):
        mine = [p for p in steps if p.epoch == number + 1]
        assert line["loss"] == pytest.approx(sum(p.loss for p in mine) / 3)
        for part in ("detection", "distill"):
            assert line["parts"][part] == pytest.approx(sum(p.parts[part] for p in mine) / 3)
        assert line["grad_norm"] > 0
    assert lines[-1]["loss"] < lines[0]["loss"]
    last, best = load_checkpoint(tmp_path / "run" / "last"), load_checkpoint(tmp_path / "run" / "best")
    assert (last.epoch, last.step, best.epoch, best.training) == (5, 15, 4, None)
    assert last.extra["recipe"] == {"name": "tiny"}
    assert same(last.weights, trainable.student.state_dict())
    assert not same(best.weights, last.weights)


def test_the_loop_is_adamw_by_hand(tmp_path: Path) -> None:
    spec = replace(SPEC, stages=(StageSpec("full", 2),), schedule=ScheduleSpec("cosine"), clip_norm=0.05)
    trainable, other = TinyTrainable(3), TinyTrainable(3)
    fit(trainable, TinyLoader(2), spec, folder=tmp_path)
    lines = JsonLines(tmp_path / "metrics.jsonl").read()
    from qrecipe.train.epoch import epoch_seed

    decayed = [p for p in other.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in other.parameters() if p.requires_grad and p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 1e-4}, {"params": plain, "weight_decay": 0.0}], lr=1e-2, fused=True
    )
    step, loader = 0, TinyLoader(2)
    for epoch in (1, 2):
        other.train()
        torch.manual_seed(epoch_seed(0, epoch))
        loader.set_epoch(epoch)
        for batch in loader:
            for group in optimizer.param_groups:
                group["lr"] = 1e-2 * (1 + math.cos(math.pi * step / 3)) / 2
            loss, _ = other(batch)
            optimizer.zero_grad()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_([*decayed, *plain], 0.05)
            assert norm > 0.05
            ranges = {n: p.detach().clone() for n, p in other.student.named_parameters() if n.endswith(".scale")}
            optimizer.step()
            with torch.no_grad():  # a scale's step is a share of itself
                for name, parameter in other.student.named_parameters():
                    if name in ranges:
                        parameter.copy_(ranges[name] + (parameter - ranges[name]) * ranges[name].abs())
            step += 1
    assert lines[-1]["lr"]["rest"] == 0
    for name, value in other.state_dict().items():
        assert torch.allclose(trainable.state_dict()[name], value, rtol=1e-5, atol=1e-7), name


def poisoned_at_epoch_two(kind: str) -> TinyTrainable:
    class Poisoned(TinyTrainable):
        calls = 0

        def forward(self, batch: Any) -> Any:
            self.calls += 1
            loss, parts = super().forward(batch)
            if self.calls == 5:
                if kind == "raises":
                    raise TrainError("a cost is not finite", where="image 1 of the batch")
                if kind == "loss":
                    return loss * torch.inf, {**parts, "distill": torch.tensor(torch.inf)}
                # a finite loss whose gradient is not: the root's slope at 0
                loss = loss + (self.student.head.weight * 0).sum().sqrt()
            return loss, parts

    return Poisoned()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("loss", "the loss is not finite (inf); its bad parts: distill (inf)"),
        ("gradient", "the gradients are not finite (norm nan): head.weight"),
        ("raises", "image 1 of the batch: a cost is not finite"),
    ],
)
def test_not_finite_stops_before_the_step(tmp_path: Path, kind: str, message: str) -> None:
    trainable = poisoned_at_epoch_two(kind)
    states: list[dict[str, Tensor]] = []
    listener = on_step(lambda progress: states.append(weights(trainable.student)))
    with pytest.raises(TrainError) as caught:
        fit(trainable, TinyLoader(), SPEC, folder=tmp_path, listener=listener)
    assert caught.value.where == "epoch 2, step 2, images 11, 12"
    assert caught.value.what == message
    learned = dict(trainable.student.named_parameters())
    assert all(torch.equal(value, states[-1][name]) for name, value in learned.items())
    last = load_checkpoint(tmp_path / "last")
    assert last.epoch == 1
    assert same(last.weights, states[2])


def test_nan_parts_are_named(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=r"epoch 1, step 3, images 21, 22: .*distill \(nan\)"):
        fit(TinyTrainable(poison=(22,)), TinyLoader(), SPEC, folder=tmp_path)
    assert not (tmp_path / "last").exists()


def test_bf16_and_back_in_one_process(tmp_path: Path) -> None:
    spec = replace(SPEC, precision="bf16", stages=(StageSpec("full", 1),))
    dtypes: list[torch.dtype] = []

    class Looking(TinyTrainable):
        def forward(self, batch: Any) -> Any:
            dtypes.append(self.student.head(torch.ones(1, 4)).dtype)
            return super().forward(batch)

    fit(Looking(), TinyLoader(1), spec, folder=tmp_path / "a")
    fit(Looking(), TinyLoader(1), replace(spec, precision="no"), folder=tmp_path / "b")
    fit(Looking(), TinyLoader(1), spec, folder=tmp_path / "c")
    assert dtypes == [torch.bfloat16, torch.float32, torch.bfloat16]


def test_evaluate_every(tmp_path: Path) -> None:
    seen: list[bool] = []
    trainable = TinyTrainable()

    def evaluate(module: torch.nn.Module) -> TinyScores:
        assert module is trainable.student
        seen.append(trainable.training or torch.is_grad_enabled())
        return TinyScores(math.nan)

    result = fit(trainable, TinyLoader(1), replace(SPEC, evaluate_every=2), folder=tmp_path, evaluate=evaluate)
    assert [line["val"] is not None for line in result.history] == [False, True, False, True, True]
    assert seen == [False] * 3
    assert (result.best_epoch, result.checkpoint) == (None, tmp_path / "last")


def test_no_epochs_and_no_images(tmp_path: Path) -> None:
    result = fit(TinyTrainable(), TinyLoader(), TrainSpec(), folder=tmp_path)
    assert (result.history, result.checkpoint) == ((), None)
    with pytest.raises(TrainError, match="no image"):
        fit(TinyTrainable(), TinyLoader(0), SPEC, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_denormals_are_flushed_while_training_only(tmp_path: Path) -> None:
    inside: list[bool] = []
    assert not are_flushed()
    listener = on_step(lambda progress: inside.append(are_flushed()))
    fit(
        TinyTrainable(),
        TinyLoader(1),
        replace(SPEC, stages=(StageSpec("full", 1),)),
        folder=tmp_path,
        listener=listener,
    )
    assert inside == [True]
    assert not are_flushed()
    set_flushed(True)
    try:
        fit(TinyTrainable(), TinyLoader(1), TrainSpec((StageSpec("full", 1),)), folder=tmp_path / "b")
        assert are_flushed()
    finally:
        set_flushed(False)


def test_manifest_is_plain_json(tmp_path: Path) -> None:
    fit(TinyTrainable(), TinyLoader(1), replace(SPEC, stages=(StageSpec("full", 1),)), folder=tmp_path)
    manifest = json.loads((tmp_path / "last" / "manifest.json").read_text())
    assert manifest["extra"]["fit"]["train"]["optimizer"]["lr"] == 0.01
    assert manifest["versions"]["torch"]
