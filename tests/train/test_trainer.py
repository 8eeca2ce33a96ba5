from __future__ import annotations

import errno
import json
import math
import os
import shutil
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from qrecipe.errors import RunError, TrainError
from qrecipe.recipe.definition import OptimizerSpec, ScheduleSpec, StageSpec, TrainSpec
from qrecipe.run.checkpoint import load_checkpoint, load_weights
from qrecipe.run.lines import JsonLines
from qrecipe.termination import Terminated, listening
from qrecipe.train.denormals import are_flushed, set_flushed
from qrecipe.train.events import EpochEnded, StepTaken, TrainingEvent, TrainingStarted
from qrecipe.train.protocols import Trainable
from qrecipe.train.records import FitResult, Records
from qrecipe.train.trainer import Trainer
from tests.tiny_training import TinyLoader, TinyScores, TinyStudent, TinyTrainable

SPEC = TrainSpec(
    stages=(StageSpec("backbone", 2, ("backbone.*",)), StageSpec("full", 3)),
    optimizer=OptimizerSpec(lr=1e-2),
    schedule=ScheduleSpec("one_cycle", warmup=2),
    clip_norm=1.0,
)


def scorer(*aps: float) -> Callable[[torch.nn.Module], TinyScores]:
    values = iter(aps)
    return lambda module: TinyScores(next(values))


def fit(
    trainable: TinyTrainable,
    loader: TinyLoader,
    spec: TrainSpec,
    *,
    folder: Path,
    phase: str = "train",
    metrics: JsonLines | None = None,
    extra: Mapping[str, Any] | None = None,
    resume: bool = False,
    **others: Any,
) -> FitResult:
    return Trainer(trainable, loader, spec, Records(folder, phase, metrics, extra or {}), **others).fit(resume)


def on_step(call: Callable[[StepTaken], object]) -> Callable[[TrainingEvent], None]:
    """A listener of steps alone."""

    def listen(event: TrainingEvent) -> None:
        if isinstance(event, StepTaken):
            call(event)

    return listen


def weights(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


def test_a_trainable_fits_the_protocol() -> None:
    trainable: Trainable[torch.nn.Module] = TinyTrainable()
    assert trainable.student is not None


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
        [{"params": decayed, "weight_decay": 1e-4}, {"params": plain, "weight_decay": 0.0}], lr=1e-2
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


class Cut(BaseException):
    """A kill: nothing catches it."""


@pytest.mark.parametrize("at", [(1, 2), (3, 3), (4, 1), (5, 3)])
def test_a_resumed_training_ends_with_the_same_bits(tmp_path: Path, at: tuple[int, int]) -> None:
    aps = (0.5, 0.4, 0.3, 0.2, 0.25)
    whole = TinyTrainable(5)
    expected = fit(whole, TinyLoader(), SPEC, folder=tmp_path / "whole", seed=7, evaluate=scorer(*aps))

    def cut(progress: StepTaken) -> None:
        if (progress.epoch, progress.step) == at:
            raise Cut

    folder = tmp_path / "parts"
    with pytest.raises(Cut):
        fit(
            TinyTrainable(5), TinyLoader(), SPEC, folder=folder, seed=7, evaluate=scorer(*aps),
            listener=on_step(cut),
        )  # fmt: skip
    torch.rand(17)
    parts = TinyTrainable(5 if at[0] == 1 else 6)  # other first weights: all must come from the checkpoint
    result = fit(parts, TinyLoader(), SPEC, folder=folder, seed=7, evaluate=scorer(*aps[at[0] - 1 :]), resume=True)
    assert same(parts.student.state_dict(), whole.student.state_dict())
    assert same(parts.projection.state_dict(), whole.projection.state_dict())
    assert (result.best_epoch, result.best_ap) == (expected.best_epoch, expected.best_ap) == (3, 0.3)

    def figures(result: FitResult) -> list[dict[str, Any]]:
        return [{k: v for k, v in line.items() if not k.startswith("seconds")} for line in result.history]

    assert figures(result) == figures(expected)
    assert JsonLines(folder / "metrics.jsonl").read() == list(result.history)
    for kind in ("last", "best"):
        assert same(load_checkpoint(folder / kind).weights, load_checkpoint(tmp_path / "whole" / kind).weights)
    ours, theirs = (load_checkpoint(f / "last").training for f in (folder, tmp_path / "whole"))
    assert ours is not None
    assert theirs is not None
    for key, state in ours["optimizer"]["state"].items():
        for name, value in state.items():
            assert torch.equal(value, theirs["optimizer"]["state"][key][name])


def send(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("at", [(1, 1), (3, 2), (4, 3)])
def test_a_signal_leaves_the_step_that_was_taken(tmp_path: Path, at: tuple[int, int]) -> None:
    """Also within an epoch, where a resumed training goes on with the very same bits."""
    aps = (0.5, 0.4, 0.3, 0.2, 0.25)
    whole, folder = TinyTrainable(5), tmp_path / "parts"
    expected = fit(whole, TinyLoader(), SPEC, folder=tmp_path / "whole", seed=7, evaluate=scorer(*aps))

    def end(progress: StepTaken) -> None:
        if (progress.epoch, progress.step) == at:
            send()

    with listening(), pytest.raises(Terminated) as ended:
        fit(
            TinyTrainable(5), TinyLoader(), SPEC, folder=folder, seed=7, evaluate=scorer(*aps),
            listener=on_step(end),
        )  # fmt: skip
    assert ended.value.code == 143
    last = load_checkpoint(folder / "last")
    assert (last.epoch, last.step) == (at[0] - 1, (at[0] - 1) * 3 + at[1])
    torch.rand(17)
    parts, taken = TinyTrainable(6), list[tuple[int, int]]()
    result = fit(
        parts, TinyLoader(), SPEC, folder=folder, seed=7, evaluate=scorer(*aps[at[0] - 1 :]), resume=True,
        listener=on_step(lambda progress: taken.append((progress.epoch, progress.step))),
    )  # fmt: skip
    assert same(parts.state_dict(), {**whole.state_dict()})
    assert taken[:1] == [(at[0], at[1] + 1) if at[1] < 3 else (at[0] + 1, 1)]
    assert len(taken) == 5 * 3 - last.step
    assert [line["loss"] for line in result.history] == [line["loss"] for line in expected.history]
    assert [line["grad_norm"] for line in result.history] == [line["grad_norm"] for line in expected.history]


def test_a_signal_while_an_epoch_is_scored(tmp_path: Path) -> None:
    """The evaluation is not waited for: it is made again."""

    def score(module: torch.nn.Module) -> TinyScores:
        send(signal.SIGHUP)
        raise AssertionError

    with listening(), pytest.raises(Terminated) as ended:
        fit(TinyTrainable(), TinyLoader(), SPEC, folder=tmp_path, evaluate=score)
    assert (ended.value.code, load_checkpoint(tmp_path / "last").step) == (129, 3)
    parts, whole = TinyTrainable(), TinyTrainable()
    fit(parts, TinyLoader(), SPEC, folder=tmp_path, evaluate=scorer(*[0.1] * 5), resume=True)
    fit(whole, TinyLoader(), SPEC, folder=tmp_path / "whole", evaluate=scorer(*[0.1] * 5))
    assert same(parts.state_dict(), whole.state_dict())


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    """What it breaks into is not kept."""

    def twice(progress: StepTaken) -> None:
        if progress.epoch == 2:
            send(signal.SIGINT)
            send(signal.SIGINT)
            raise AssertionError

    with listening(), pytest.raises(Terminated) as ended:
        fit(TinyTrainable(), TinyLoader(), SPEC, folder=tmp_path, listener=on_step(twice))
    assert ended.value.at_once
    assert load_checkpoint(tmp_path / "last").step == 3


def test_a_kill_between_metrics_and_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aps = (0.1, 0.1, 0.2, 0.3, 0.1)
    whole = TinyTrainable()
    expected = fit(whole, TinyLoader(), SPEC, folder=tmp_path / "whole", evaluate=scorer(*aps))
    from qrecipe.train import trainer

    real = trainer.save_checkpoint
    folder = tmp_path / "parts"
    with monkeypatch.context() as patch:

        def save(path: Path, checkpoint: Any, moved: Path | None = None) -> None:
            if checkpoint.epoch == 4 and path.name == "last":
                raise Cut
            real(path, checkpoint, moved)

        patch.setattr(trainer, "save_checkpoint", save)
        with pytest.raises(Cut):
            fit(TinyTrainable(), TinyLoader(), SPEC, folder=folder, evaluate=scorer(*aps))
    assert load_checkpoint(folder / "best").epoch == 4
    parts = TinyTrainable()
    result = fit(parts, TinyLoader(), SPEC, folder=folder, evaluate=scorer(*aps[3:]), resume=True)
    assert same(parts.student.state_dict(), whole.student.state_dict())
    assert (result.best_epoch, result.best_ap) == (expected.best_epoch, expected.best_ap)
    assert [line["epoch"] for line in JsonLines(folder / "metrics.jsonl").read()] == [1, 2, 3, 4, 5]


def test_metrics_that_have_lost_lines_are_told(tmp_path: Path) -> None:
    def cut(progress: StepTaken) -> None:
        if progress.epoch == 4:
            raise Cut

    with pytest.raises(Cut):
        fit(TinyTrainable(), TinyLoader(), SPEC, folder=tmp_path, listener=on_step(cut))
    metrics, told = tmp_path / "metrics.jsonl", list[TrainingEvent]()
    lines = metrics.read_text().splitlines(keepends=True)
    metrics.write_text("".join([lines[0], lines[0], lines[2], '{"phase": "train"}\n']))
    result = fit(TinyTrainable(), TinyLoader(), SPEC, folder=tmp_path, resume=True, listener=told.append)
    started = told[0]
    assert isinstance(started, TrainingStarted)
    assert started.notes == (f"{metrics} has lost or doubled the line of epoch 1, 2; the weights are those of epoch 3",)
    assert [line["epoch"] for line in result.history] == [1, 1, 3, 4, 5]


def test_resuming_a_finished_training_changes_nothing(tmp_path: Path) -> None:
    first = TinyTrainable()
    result = fit(first, TinyLoader(), SPEC, folder=tmp_path, evaluate=scorer(*[0.1] * 5))
    second = TinyTrainable(8)
    again = fit(second, TinyLoader(), SPEC, folder=tmp_path, evaluate=scorer(), resume=True)
    assert again == result
    assert same(second.student.state_dict(), first.student.state_dict())


def test_metrics_of_other_phases_stay(tmp_path: Path) -> None:
    metrics = JsonLines(tmp_path / "metrics.jsonl")
    short = replace(SPEC, stages=(StageSpec("full", 1),))
    fit(TinyTrainable(), TinyLoader(1), short, folder=tmp_path / "a", metrics=metrics, phase="control")
    fit(TinyTrainable(), TinyLoader(1), short, folder=tmp_path / "b", metrics=metrics, phase="student", resume=True)
    assert [(line["phase"], line["epoch"]) for line in metrics.read()] == [("control", 1), ("student", 1)]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    short = replace(SPEC, stages=(StageSpec("full", 1),))
    fit(TinyTrainable(), TinyLoader(1), short, folder=tmp_path)
    with pytest.raises(RunError, match="not overwritten"):
        fit(TinyTrainable(), TinyLoader(1), short, folder=tmp_path)


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    fit(TinyTrainable(), TinyLoader(), SPEC, folder=tmp_path)
    changed = replace(SPEC, optimizer=OptimizerSpec(lr=0.5))
    with pytest.raises(TrainError) as caught:
        fit(TinyTrainable(), TinyLoader(4), changed, folder=tmp_path, seed=3, resume=True)
    text = str(caught.value)
    for line in ("train.optimizer.lr: 0.01 in the run, 0.5 now", "seed: 0 in the run", "steps_per_epoch: 3 in the run"):
        assert line in text


def test_other_groups_are_refused(tmp_path: Path) -> None:
    fit(TinyTrainable(), TinyLoader(), SPEC, folder=tmp_path)
    with pytest.raises(TrainError, match="of other parameters"):
        fit(
            TinyTrainable(), TinyLoader(), SPEC, folder=tmp_path, resume=True,
            is_backbone=lambda name: name.startswith("head"),
        )  # fmt: skip


def test_weights_only_cannot_be_resumed(tmp_path: Path) -> None:
    fit(TinyTrainable(), TinyLoader(), SPEC, folder=tmp_path, evaluate=scorer(*[0.1] * 5))
    shutil.rmtree(tmp_path / "last")
    (tmp_path / "best").rename(tmp_path / "last")
    with pytest.raises(TrainError, match="weights only"):
        fit(TinyTrainable(), TinyLoader(), SPEC, folder=tmp_path, resume=True)


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


def test_an_interrupt_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    def interrupt(progress: StepTaken) -> None:
        if progress.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(TinyTrainable(), TinyLoader(), SPEC, folder=tmp_path, listener=on_step(interrupt))
    assert load_weights(tmp_path / "last", TinyStudent()).epoch == 2


def test_a_full_disk_stops_with_the_last_checkpoint_intact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from qrecipe.run import checkpoint

    real = checkpoint.write_synced
    written: list[str] = []

    def write(path: Path, data: bytes) -> None:
        written.append(path.name)
        if len(written) == 5:
            real(path, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_synced", write)
        with pytest.raises(RunError, match="the disk is full"):
            fit(TinyTrainable(), TinyLoader(), SPEC, folder=tmp_path)
    assert load_checkpoint(tmp_path / "last").epoch == 1
    result = fit(TinyTrainable(), TinyLoader(), SPEC, folder=tmp_path, resume=True)
    assert len(result.history) == 5


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
