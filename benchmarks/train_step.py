"""What a training step costs, in seconds and in memory: real-valued, quantized, distilled, and by other quantizers.

    python benchmarks/train_step.py recipes/quickstart_w4a4.yaml --size 128 128 --batch 16 --threads 1

One process and one batch for each recipe. Every way takes its steps in turn, forwards and backwards through the list,
so that a drifting machine favours none; medians, and ratios to the real-valued step. On one thread of a CPU the seconds
are the processor's. A step is the runner's: forward, backward, norm of the gradients, clipping, AdamW (with a learning
rate of 0, so that no way drifts away).

Memory is what torch's allocator held at most during one step beyond what it held before it: activations, gradients and
temporaries; neither weights nor the optimizer's state. On a CPU it is counted from the profiler's records of every
allocation, on CUDA by the allocator itself.

With the quantizers switched off a student computes what the real-valued model does, with attention written out: its
operands have quantizers, so torch's fused attention is not to be had.

Other quantizers stand at the very sites of the recipe's plan, see ``other_quantizers.py``; those that are not installed
are left out. Random weights; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from coverage import build
from other_quantizers import OTHERS, replace_quantizers
from torch import nn
from torch.profiler import ProfilerActivity, profile

from qrecipe.data.batch import Batch
from qrecipe.quantizers import Quantizer
from qrecipe.recipe import load_recipe
from qrecipe.recipe.definition import ModelSpec, Recipe
from qrecipe.student import Original, Student, calibrate, capture_original, make_student, real_valued
from qrecipe.train.denormals import set_flushed
from qrecipe.train.module import TrainingModule
from qrecipe.train.optimizer import build_optimizer

CLASSES = 3
PARTS = ("forward", "backward", "optimizer")


@dataclass
class Way:
    """One way to train: its step, and what its steps took.

    seconds: of each step, its three parts. memory: bytes.
    """

    module: TrainingModule
    note: str = ""
    seconds: list[tuple[float, float, float]] = field(default_factory=list)
    memory: int = 0

    def __post_init__(self) -> None:
        student = self.module.student
        self.parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]
        spec = replace(student.recipe.train.optimizer, lr=0.0, lr_backbone=0.0, lr_quantizer=0.0)
        named = list(student.named_parameters())
        self.optimizer, _ = build_optimizer(named, spec, student.is_backbone, student.modules())
        self.module.train()

    def step(self, batch: Batch, now: Callable[[], float]) -> tuple[float, float, float]:
        """Seconds of the forward pass, the backward pass, and what follows."""
        self.optimizer.zero_grad(set_to_none=True)
        began = now()
        loss, _ = self.module(batch)
        forward = now()
        loss.backward()
        backward = now()
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        torch.nn.utils.clip_grads_with_norm_(self.parameters, 0.1, norm)
        self.optimizer.step()
        return forward - began, backward - forward, now() - backward


def random_batch(size: int, height: int, width: int) -> Batch:
    """Noise with two objects an image."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(size, 3, height, width, generator=generator)
    boxes = torch.tensor([[0.3, 0.3, 0.2, 0.2], [0.7, 0.6, 0.3, 0.4]])
    labels = [{"class_labels": torch.tensor([0, 1]), "boxes": boxes} for _ in range(size)]
    return Batch(pixels, None, labels, list(range(size)), torch.tensor([[height, width]] * size))


def captured(recipe: Recipe, spec: ModelSpec, size: tuple[int, int]) -> Original:
    """One of the recipe's models."""
    built = build(replace(recipe, model=spec), CLASSES)
    shown = replace(built.input, size=size, shortest=None, longest=None, within=None)
    return capture_original(built.model, built.family, shown, label_map=built.label_map)


def ways(
    recipe: Recipe, batch: Batch, size: tuple[int, int], device: torch.device, wanted: list[str]
) -> dict[str, Way]:
    """The ways to train that were asked for, by name, calibrated."""
    original = captured(recipe, recipe.model, size)
    plain = replace(recipe, distill=replace(recipe.distill, targets=()))

    def student(of: Recipe) -> Student:
        made = make_student(original, of)
        if of.quantize != real_valued(of).quantize:
            calibrate(made, [batch])
        return made.to(device)

    found = {"real-valued": Way(TrainingModule(student(real_valued(recipe))))}
    if "off" in wanted:
        found["quantizers switched off"] = Way(TrainingModule(student(plain)))
        found["quantizers switched off"].module.student.switch_off()
    if "student" in wanted:
        found["student"] = Way(TrainingModule(student(plain)))
    if "checkpointed" in wanted:
        again = replace(plain, train=replace(plain.train, checkpointing=True))
        found["student, checkpointed"] = Way(TrainingModule(student(again)))
    if "distilled" in wanted and recipe.distill.targets:
        other = original if recipe.teacher is None else captured(recipe, recipe.teacher, size)
        teacher = make_student(other, real_valued(recipe, targets=True), part="teacher").to(device)
        found["student, distilled"] = Way(TrainingModule(student(recipe), teacher))
    for name, of in OTHERS.items():
        if name in wanted and (make := of()) is not None:
            replaced = student(plain)
            covered, sites = replace_quantizers(replaced, make)
            found[name] = Way(TrainingModule(replaced), "" if covered == sites else f"{covered} of {sites} sites")
    return found


def clock(device: torch.device, threads: int) -> Callable[[], float]:
    """Seconds, when all that was asked of the device is done; on one thread those that other programs do not take."""

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.process_time() if device.type == "cpu" and threads == 1 else time.perf_counter()

    return now


def peak_memory(run: Callable[[], object], device: torch.device) -> int:
    """Bytes that torch's allocator held at most while ``run`` ran, beyond those before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        run()
    held = most = 0
    for event in recorded.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


def measure(found: dict[str, Way], batch: Batch, device: torch.device, repeats: int) -> None:
    """Take the steps: two of each way to warm up, then those that count, then one for its memory."""
    now = clock(device, torch.get_num_threads())
    for repeat in range(-2, repeats):
        for way in list(found.values())[:: 1 if repeat % 2 else -1]:
            seconds = way.step(batch, now)
            if repeat >= 0:
                way.seconds.append(seconds)
    for way in found.values():
        way.optimizer.zero_grad(set_to_none=True)
        way.memory = peak_memory(lambda way=way: way.step(batch, now), device)  # type: ignore[misc]
        way.optimizer.zero_grad(set_to_none=True)


def table(found: dict[str, Way]) -> str:
    """Medians, and their ratios to the first way's, as a Markdown table."""
    lines = [f"| step | {', '.join(PARTS)} (ms) | ms | ratio | MiB | ratio | |", "|---|---|---|---|---|---|---|"]
    totals = {name: statistics.median(sum(step) for step in way.seconds) for name, way in found.items()}
    first, least = next(iter(totals.values())), next(iter(found.values())).memory
    for name, way in found.items():
        parts = [statistics.median(step[index] for step in way.seconds) for index in range(len(PARTS))]
        milliseconds = " + ".join(f"{1000 * seconds:.0f}" for seconds in parts)
        ratio, memory = totals[name] / first, f"{way.memory / 2**20:.0f} | {way.memory / least:.2f}"
        lines.append(f"| {name} | {milliseconds} | {1000 * totals[name]:.0f} | {ratio:.2f} | {memory} | {way.note} |")
    return "\n".join(lines)


def count(module: nn.Module) -> int:
    return sum(isinstance(part, Quantizer) for part in module.modules())


def main() -> None:
    """Measure each recipe, and print a table of it."""
    every = ["off", "student", "checkpointed", "distilled", *OTHERS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+", type=Path)
    parser.add_argument("--size", type=int, nargs=2, default=(128, 128), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--ways", nargs="+", choices=every, default=every, help="beside the real-valued step")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    set_flushed(True)
    size = tuple(arguments.size)
    for path in arguments.recipes:
        recipe = load_recipe(path, data=False)
        batch = random_batch(arguments.batch, *size)
        found = ways(recipe, batch, size, arguments.device, arguments.ways)
        quantizers = max(count(way.module.student) for way in found.values())
        measure(found, batch.to(arguments.device), arguments.device, arguments.repeats)
        at = f"{arguments.batch} x {size[0]}x{size[1]}, {arguments.device}, {arguments.threads} thread(s)"
        print(f"{path.stem}: {quantizers} fake quantizers, {at}\n\n{table(found)}\n", flush=True)


if __name__ == "__main__":
    main()
