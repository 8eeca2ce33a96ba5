"""What qrecipe does with every family, measured: docs/coverage.md is written by this file, and by nothing else.

    python benchmarks/coverage.py                        # every family's recipe, random weights, nothing downloaded
    python benchmarks/coverage.py recipes/yolos_tiny_w4a4.yaml --output /tmp/one.md

Each recipe is measured in a process of its own: its model is built at its published size, in float64, captured at a
small image, compared with itself at other sizes, planned, trained for two steps, saved, loaded and copied.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils import _pytree as pytree

from qrecipe.data.batch import Batch
from qrecipe.errors import QRecipeError
from qrecipe.models.families import Family, prompted
from qrecipe.models.loading.build import Built, build_model
from qrecipe.planning import Plan
from qrecipe.recipe import load_recipe
from qrecipe.recipe.definition import InputSpec, MatchSpec, Recipe, TargetSpec
from qrecipe.run.checkpoint import load_weights
from qrecipe.student import Original, Student, calibrate, capture_original, make_plan, make_student, real_valued
from qrecipe.student.store import save
from qrecipe.train.module import TrainingModule
from qrecipe.train.optimizer import build_optimizer
from qrecipe.vocabulary import DISTILLABLE, MAPS, PREDICTED_CLASSES, PREDICTIONS

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ROOT / "recipes"
DOCUMENT = ROOT / "docs" / "coverage.md"
CLASSES = 5
STEPS = 2
EXAMPLE = (2, 256, 320)
LARGE, ONE_SMALLER = 100_000_000, (1, 192, 256)
"""Parameters of a model that takes its training steps on one smaller image: 24 GB hold no more in float64."""
GIVES_BACK = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
"""glibc then returns a freed tensor's memory at once; it otherwise held on to half of what Grounding DINO had used."""
_PIECE = yaml.safe_load((Path(__file__).parents[1] / "recipes/base/q_detr.yaml").read_text(encoding="utf-8"))
Q_DETR = tuple(f"distill.{key}={json.dumps(value)}" for key, value in _PIECE["distill"].items())
"""Every family is aligned and distilled so here, whatever its own recipe has."""
SHAPES = ((1, 320, 256), (2, 224, 288), (3, 250, 333))
"""(batch, height, width) at which student and model are compared; the last is no multiple of any stride."""


@dataclass
class Row:
    """What was measured of one recipe.

    differences: by mode and shape, of outputs and gradients, relative to the largest value; None where the model itself
    refuses the size. kept: what is real-valued beside the recipe's ``keep: float``.
    """

    recipe: str
    model: str
    parameters: int
    nodes: dict[str, int]
    seconds: float
    differences: dict[str, tuple[float, float] | None]
    sites: tuple[int, int]
    covered: float
    kept: dict[str, int]
    roles: list[str]
    dtype: str
    layers: int
    aligned: int
    losses: list[float]
    scales: tuple[int, int]
    without_gradient: list[str]
    reloaded: float
    copied: float
    targets: dict[str, bool]
    notes: list[str]


def family_recipes() -> list[Path]:
    """The 4-4-8 recipe of every family, and of the built-in demo."""
    return [path for path in sorted(RECIPES.glob("*_w4a4.yaml")) if load_recipe(path, data=False).model.architecture]


@dataclass(frozen=True)
class Subject:
    """A model with weights that hide no error, and its capture at ``size``, (batch, height, width), in ``seconds``."""

    model: nn.Module
    family: Family
    original: Original
    size: tuple[int, int, int]
    dtype: torch.dtype
    seconds: float


def captured(model: nn.Module, family: Family, image_input: InputSpec, size: tuple[int, int, int] = EXAMPLE) -> Subject:
    """The model is moved to the widest type in which it runs, stirred and settled; images keep one size."""
    dtype = widest(stir(model).eval(), family, size)
    settle(model, family, size, dtype)
    start = time.perf_counter()
    original = capture_original(model, family, fixed(image_input, *size[1:]))
    return Subject(model, family, original, size, dtype, time.perf_counter() - start)


def measure(name: str, subject: Subject, recipe: Recipe, shapes: Sequence[tuple[int, int, int]] = SHAPES) -> Row:
    """Everything of one model. ``shapes``: (batch, height, width) to compare at."""
    model, family, original, dtype = subject.model, subject.family, subject.original, subject.dtype
    _, height, width = subject.size
    # No student is kept beside the next: a large model in float64, its gradients and its copies fill a small machine.
    differences = compare(make_student(original, recipe), model, family, shapes, dtype)
    large = sum(parameter.numel() for parameter in model.parameters()) > LARGE
    data = labelled(*(ONE_SMALLER if large else subject.size), dtype)
    losses, without = train(original, recipe, data)
    targets = every_target(original, recipe, data)
    student = make_student(original, recipe)
    plan = student.plan
    quantizers = len(plan.quantizers)
    pixels, mask = images(2, height, width, dtype)
    student.switch_off()
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        before = leaves(student.eval().run(family.inputs(pixels, mask)).outputs)
        other = make_student(original, recipe)
        stir(other, seed=1)
        save(student, Path(folder) / "student")
        load_weights(Path(folder) / "student", other)
        other.switch_off()
        reloaded = worst(leaves(other.eval().run(family.inputs(pixels, mask)).outputs), before)
        copied = worst(leaves(copy.deepcopy(student).run(family.inputs(pixels, mask)).outputs), before)
    return Row(
        recipe=name,
        model=type(model).__name__,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        nodes={mode: len(program.graph.nodes) for mode, program in original.captured.programs.items()},
        seconds=subject.seconds,
        differences=differences,
        sites=quantized_sites(plan),
        covered=covered(plan),
        kept=kept(plan),
        roles=sorted({site.role for site in plan.sites.values()}),
        dtype=str(dtype).removeprefix("torch."),
        layers=len({tap.layer for tap in plan.taps} | {one.layer for one in plan.alignments}),
        aligned=len(plan.alignments),
        losses=losses,
        scales=(quantizers - len(without), quantizers),
        without_gradient=without,
        reloaded=reloaded,
        copied=copied,
        targets=targets,
        notes=list(plan.notes),
    )


def fixed(image_input: InputSpec, height: int, width: int) -> InputSpec:
    """The input at one fixed size."""
    return replace(image_input, size=(height, width), shortest=None, longest=None)


def widest(model: nn.Module, family: Family, size: tuple[int, int, int]) -> torch.dtype:
    """float64 where the model runs in it, else float32: some make float32 tables on the way. The model is left so."""
    pixels, mask = images(*size)
    try:
        with torch.no_grad():
            family.forward(model.double(), family.inputs(pixels, mask))
        return torch.float64
    except RuntimeError:
        model.float()
        return torch.float32


def settle(model: nn.Module, family: Family, size: tuple[int, int, int], dtype: torch.dtype) -> None:
    """Give BatchNorms the statistics of two batches of noise.

    With those of a fresh norm a random network passes on almost nothing of its image: all queries then have one score,
    and the rounding of a folded norm decides a top-k.
    """
    norms = [part for part in model.modules() if isinstance(part, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    if not norms:
        return
    batch, height, width = size
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average of all batches
    model.train()
    with torch.no_grad():
        for step in range(2):
            family.forward(model, family.inputs(*images(batch, height, width + 32 * step, dtype)))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()


def stir(model: nn.Module, seed: int = 0) -> nn.Module:
    """Move every parameter, so that no two queries have the same score: ties in a top-k would hide errors."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator).to(parameter)
            parameter.add_(0.05 * noise * float(parameter.std() if parameter.numel() > 1 else 1.0) + 0.01 * noise)
    return model


def images(batch: int, height: int, width: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Noise, and a mask under which the first image is a quarter shorter."""
    generator = torch.Generator().manual_seed(height * 10_007 + width)
    pixels = torch.rand(batch, 3, height, width, generator=generator, dtype=torch.float64)
    mask = torch.ones(batch, height, width, dtype=torch.int64)
    mask[0, height * 3 // 4 :] = 0
    return pixels.to(dtype), mask


def compare(
    student: Student,
    model: nn.Module,
    family: Family,
    shapes: Sequence[tuple[int, int, int]],
    dtype: torch.dtype,
) -> dict[str, tuple[float, float] | None]:
    """Student with quantizers off against the model, its BatchNorms frozen, in both modes and at every shape."""
    student.switch_off()
    eager = copy.deepcopy(model)
    found: dict[str, tuple[float, float] | None] = {}
    for training in (True, False):
        for module in (student, eager):
            module.train(training)
        for part in eager.modules():
            if isinstance(part, _BatchNorm):
                part.eval()
                part.register_forward_hook(contiguous_gradient)
        for shape in shapes:
            key = f"{'train' if training else 'eval'} {'x'.join(map(str, shape))}"
            eager.zero_grad(set_to_none=True)
            student.zero_grad(set_to_none=True)
            try:
                inputs = family.inputs(*images(*shape, dtype))
                theirs = seeded(lambda inputs=inputs: family.forward(eager, inputs))
            except Exception:  # family or model refuse this size, in whatever way
                found[key] = None
                continue
            expected = gone_back(theirs)
            mine = gone_back(seeded(lambda inputs=inputs: student.run(inputs)[:2]))
            own = dict(student.named_parameters())
            pairs = [(own[name].grad, value.grad) for name, value in eager.named_parameters() if name in own]
            slopes = [(a, b) for a, b in pairs if a is not None and b is not None]
            lost = any((a is None) != (b is None) for a, b in pairs)
            slope = worst([a for a, _ in slopes], [b for _, b in slopes])
            found[key] = (worst(mine, expected), float("inf") if lost else slope)
    return found


def gone_back(value: Any) -> list[Tensor]:
    """The tensors of an output after a backward pass from them, without the graph behind them."""
    backward(leaves(value))
    return [leaf.detach() for leaf in leaves(value)]


def contiguous_gradient(part: nn.Module, inputs: Any, output: Tensor) -> None:
    """Keep torch 2.13's CPU batch_norm from wrong gradients: at batch 1 it misreads one strided as channels-last.

    docs/method.md has the lines that show it. The student has no such fault, for its BatchNorms are folded.
    """
    if output.requires_grad:
        output.register_hook(lambda slope: slope.contiguous())  # type: ignore[no-untyped-call]


def seeded(run: Any) -> Any:
    torch.manual_seed(0)
    return run()


def leaves(value: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]


def backward(values: Sequence[Tensor]) -> None:
    """From a weighted sum of all finite outputs: unlike a plain sum its gradient sees which element is which."""
    total = torch.zeros((), dtype=torch.float64)
    for value in values:
        if value.requires_grad:
            weights = torch.linspace(0.5, 1.5, value.numel(), dtype=value.dtype).reshape(value.shape)
            total = total + torch.where(value.detach().abs() < 1e6, value * weights, 0.0).sum() / max(value.numel(), 1)
    total.backward()  # type: ignore[no-untyped-call]


def worst(mine: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """The largest difference, relative to the largest finite value of each tensor (at least 1)."""
    if [value.shape for value in mine] != [value.shape for value in theirs]:
        return float("inf")
    found = 0.0
    for a, b in zip(mine, theirs, strict=True):
        a, b = a.detach().double(), b.detach().double()
        finite = b.isfinite()
        if not torch.equal(finite, a.isfinite()):
            return float("inf")
        if bool(finite.any()):
            found = max(found, float((a - b)[finite].abs().max() / b[finite].abs().max().clamp(min=1)))
    return found


def labelled(batch: int, height: int, width: int, dtype: torch.dtype) -> Batch:
    """Noise with two objects in the first image, one in each other."""
    pixels, mask = images(batch, height, width, dtype)
    generator = torch.Generator().manual_seed(3)
    labels = []
    for index in range(batch):
        count = 2 if index == 0 else 1
        centre, extent = torch.rand(2, count, 2, generator=generator, dtype=torch.float64)
        boxes = torch.cat([0.3 + 0.4 * centre, 0.1 + 0.3 * extent], dim=1)
        labels.append({"class_labels": torch.randint(CLASSES, (count,), generator=generator), "boxes": boxes.to(dtype)})
    return Batch(pixels, mask, labels, list(range(batch)), torch.tensor([[height, width]] * batch))


def train(original: Original, recipe: Recipe, data: Batch) -> tuple[list[float], list[str]]:
    """Losses of two optimizer steps after calibration, and the quantizers whose scale had no gradient in either."""
    student = make_student(original, recipe)
    calibrate(student, [data])
    targets = bool(recipe.distill.targets)
    teacher = make_student(original, real_valued(recipe, targets=True), part="teacher") if targets else None
    module = TrainingModule(student, teacher).train()
    optimizer, _ = build_optimizer(
        student.named_parameters(), recipe.train.optimizer, student.is_backbone, student.modules()
    )
    losses, reached = [], set[str]()
    for _ in range(STEPS):
        loss, _parts = module(data)
        optimizer.zero_grad()
        loss.backward()
        for name, quantizer in student.quantizers.items():
            slope = quantizer.get_parameter("scale").grad
            if slope is not None and bool(slope.isfinite().all()) and bool((slope != 0).any()):
                reached.add(name)
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses, sorted(set(student.quantizers) - reached)


def every_target(original: Original, recipe: Recipe, data: Batch) -> dict[str, bool]:
    """Whether each value that can be distilled is there, and gives a finite loss and gradient."""
    scores = original.family.scores
    aims = {at: replace(recipe, distill=replace(recipe.distill, targets=(_aim(at, scores),))) for at in DISTILLABLE}
    there = [at for at, own in aims.items() if _has_plan(original, own)]
    targets = tuple(_aim(at, scores) for at in there)
    together = replace(recipe, distill=replace(recipe.distill, targets=targets))
    if there and _finite(original, together, data):  # one that is not finite would spoil the sum
        return dict.fromkeys(there, True)
    return {role: _finite(original, aims[role], data) for role in there}


def _aim(at: str, scores: str) -> TargetSpec:
    """All layers or levels, and all queries, so that none of them can be passed over."""
    losses = dict.fromkeys(MAPS, "relative") | {PREDICTED_CLASSES: "bce" if scores == "sigmoid" else "kl"}
    layers: Literal["last", "all"] = "last" if at in PREDICTIONS else "all"
    return TargetSpec(at=at, layers=layers, loss=losses.get(at, "l2"), match=MatchSpec("all"))


def _has_plan(original: Original, recipe: Recipe) -> bool:
    """Whether the model has what the recipe distills; where not, or not per query, the plan says so to users."""
    try:
        make_plan(original, recipe)
    except QRecipeError:
        return False
    return True


def _finite(original: Original, recipe: Recipe, data: Batch) -> bool:
    student = make_student(original, recipe)
    teacher = make_student(original, real_valued(recipe, targets=True), part="teacher")
    student.switch_off()
    loss, parts = TrainingModule(student, teacher).train()(data)
    loss.backward()
    slopes = [parameter.grad for parameter in student.parameters() if parameter.grad is not None]
    return bool(parts["distill"].isfinite()) and all(bool(slope.isfinite().all()) for slope in slopes)


def quantized_sites(plan: Plan) -> tuple[int, int]:
    sites = [site for site in plan.sites.values() if site.operator not in ("add", "cat")]
    return sum(site.quantizer is not None for site in sites), len(sites)


def _chosen_real(plan: Plan, site: str) -> bool:
    """Whether the recipe itself keeps a site real-valued."""
    return site in plan.sites and plan.sites[site].spec is None and plan.sites[site].reason.startswith("quantize.rules")


def covered(plan: Plan) -> float:
    """The share of multiply-accumulates with both operands quantized, among those that no rule keeps real-valued."""
    products = [product for operation in plan.operations for product in operation.products]
    asked = [p for p in products if not (_chosen_real(plan, p.left) or _chosen_real(plan, p.right))]
    done = sum(p.macs for p in asked if plan.bits(p.left) < 32 and plan.bits(p.right) < 32)
    return done / max(sum(p.macs for p in asked), 1)


def kept(plan: Plan) -> dict[str, int]:
    """What has no quantizer although no rule says so, by operator: sites, then operations without sites."""
    found: dict[str, int] = {}
    for site in plan.sites.values():
        if site.spec is None and not _chosen_real(plan, site.name):
            found[site.operator] = found.get(site.operator, 0) + 1
    return {**found, **plan.unsupported}


def one(path: Path) -> Row:
    """The row of a recipe, with random weights."""
    recipe = load_recipe(path, data=False)
    if recipe.distill.targets:
        recipe = load_recipe(path, Q_DETR, data=False)
    recipe = replace(recipe, model=replace(recipe.model, weights=None))
    built = build(recipe)
    return measure(path.stem, captured(built.model, built.family, built.input), recipe)


def build(recipe: Recipe, classes: int = CLASSES) -> Built:
    """A recipe's model with random weights; of one that reads a prompt, any word for each class."""
    spec = recipe.model
    if spec.architecture in prompted():
        words = [token for number in range(classes) for token in (2000 + number, 1012)]
        spec = replace(spec, config={**spec.config, "prompt_ids": [101, *words, 102]})
    torch.manual_seed(0)
    categories = [(number, f"category {number}") for number in range(classes)]
    return build_model(spec, categories, recipe.train.loss, random_weights=True)


def in_a_process(path: Path, kept: Path | None = None) -> dict[str, Any] | str:
    """A recipe's row, or the last line of what went wrong. kept: where rows are kept, and found again."""
    file = None if kept is None else kept / f"{path.stem}.json"
    if file is not None and file.exists():
        row: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return row
    command = [sys.executable, __file__, str(path), "--row"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **GIVES_BACK})
    found: dict[str, Any] | str
    if done.returncode:
        found = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}, without a message"])[-1]
    else:
        found = json.loads(done.stdout.splitlines()[-1])
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(found), encoding="utf-8")
    print(f"{path.stem}: {found if isinstance(found, str) else 'done'}", flush=True)
    return found


def main(paths: Sequence[Path], output: Path, jobs: int, kept: Path | None) -> int:
    from coverage_document import document

    with ThreadPoolExecutor(jobs) as pool:
        found = list(zip(paths, pool.map(lambda path: in_a_process(path, kept), paths), strict=True))
    rows = [row for _, row in found if not isinstance(row, str)]
    failures = {path.stem: row for path, row in found if isinstance(row, str)}
    output.write_text(document(rows, failures), encoding="utf-8")
    print(f"written: {output}")
    return 1 if failures else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", type=Path, help="recipes (default: every family's)")
    parser.add_argument("--output", type=Path, default=DOCUMENT, help="default: docs/coverage.md")
    parser.add_argument("--jobs", type=int, default=1, help="recipes at a time (default: 1)")
    parser.add_argument("--keep", type=Path, help="a folder to keep rows in, so that a run that was cut off goes on")
    parser.add_argument("--row", action="store_true", help="print one recipe's row as JSON")
    arguments = parser.parse_args()
    if arguments.row:
        print(json.dumps(asdict(one(arguments.recipes[0]))))
    else:
        sys.exit(main(arguments.recipes or family_recipes(), arguments.output, arguments.jobs, arguments.keep))
