"""The text of a new recipe: a comment for each choice."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

from ...report.amounts import amount
from ...vocabulary import FEATURE, QUERY
from .facts import Facts
from .training import Training

WIDTH = 110


@dataclass(frozen=True)
class Content:
    """All that the text says. Sections are as the YAML has them, paths as they are to be written.

    title: what the model and the data are called. categories: their names. input: the keys of ``model.input``.
    origin: where they are from. fresh: why the model does not know the categories yet; "" where it may. tuned: what
    gives a second run the first one's weights.
    """

    title: str
    categories: Sequence[str]
    model: Mapping[str, Any]
    teacher: Mapping[str, Any] | None
    data: Mapping[str, Any]
    input: Mapping[str, Any]
    origin: str
    bits: tuple[int, int, int]
    facts: Facts
    training: Training
    fresh: str
    tuned: str


def recipe_text(content: Content, file: str, tuning: str) -> str:
    """The student's recipe. file: its name. tuning: the name of the recipe that comes first, if one does."""
    parts = (_model, _quantize, _distill, _train, _data)
    sections = [_head(content, file, tuning), *(part(content) for part in parts)]
    return "\n".join("\n".join(section) + "\n" for section in sections)


def teacher_text(content: Content, file: str, tuning: str) -> str:
    """The real-valued fine-tuning that comes first where the model does not know the data's categories."""
    training = content.training
    lines = [
        f"# qrecipe apply {tuning}",
        *comment(
            f"Step 1 of 2: the model of {file}, real-valued, trained until it knows the data: {content.fresh}. "
            "Its weights are what the student starts from and what it is measured by."
        ),
        f"extends: {scalar(file)}",
        "version: 1",
        *(["teacher: null"] if content.teacher else []),
        "quantize: {weight: null, activation: null, attention: null, rules: []}   # nothing is quantized",
        "distill: {align: [], targets: []}                                        # and nothing distilled",
        "train:",
        f"  epochs: {training.teacher_epochs}",
        f"  optimizer: {{lr: {rate(training.teacher_lr)}}}",
    ]
    return "\n".join(lines) + "\n"


def scalar(value: object) -> str:
    """A value on one line, which every YAML reader takes for itself."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(letter if letter.isprintable() else f"\\U{ord(letter):08x}" for letter in text)


def rate(value: float) -> str:
    """A learning rate, which YAML 1.1 tools read as a number too: ``3.0e-4``."""
    return f"{value:.1e}".replace("e-0", "e-")


def flow(values: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{key}: {scalar(value)}" for key, value in values.items()) + "}"


def comment(text: str, indent: str = "") -> list[str]:
    printable = "".join(letter if letter.isprintable() else "?" for letter in text)
    return [f"{indent}# {line}" for line in wrap(printable, WIDTH - len(indent), break_on_hyphens=False)]


def _head(content: Content, file: str, tuning: str) -> Iterator[str]:
    bits = "-".join(map(str, content.bits))
    listed = ", ".join(content.categories[:8]) + (", ..." if len(content.categories) > 8 else "")
    yield f"# qrecipe apply {file}"
    yield from comment(
        f"A {bits} student (bits of weights, activations, attention) of {content.title} with {len(content.categories)} "
        f"categories: {listed}. Written by qrecipe init: read it, and change what you like."
    )
    if content.fresh:
        yield from comment(
            f"Step 2 of 2. First `qrecipe apply {tuning}`, as the model does not know the data yet: "
            f"{content.fresh}. Then apply this recipe with {content.tuned}"
        )
    yield from comment(
        "For completion in an editor: run `qrecipe schema > qrecipe.schema.json` here, and make the next ## a single #."
    )
    yield "## yaml-language-server: $schema=qrecipe.schema.json"
    yield "version: 1"


def _model(content: Content) -> Iterator[str]:
    yield "model:"
    yield from _keys(content.model)
    yield from comment(f"How an image is given to the model: {content.origin}.", "  ")
    yield f"  input: {flow(content.input)}"
    if content.teacher:
        yield from comment("The real-valued detector that the student learns from.")
        yield "teacher:"
        yield from _keys(content.teacher)


def _keys(section: Mapping[str, Any]) -> Iterator[str]:
    for key, value in section.items():
        if key == "config" and value:
            yield "  config:"
            yield from (f"    {name}: {scalar(own)}" for name, own in value.items())
        elif isinstance(value, Mapping):
            yield f"  {key}: {flow(value)}"
        elif key == "labels_argument":
            yield f"  {key}: {scalar(value)}   # the factory is given the data's number of categories under this name"
        elif value:
            yield f"  {key}: {scalar(value)}"


def _quantize(content: Content) -> Iterator[str]:
    facts = content.facts
    weight, activation, attention = content.bits
    height, width = facts.size
    yield from comment(
        f"Where the work is, of {amount(facts.macs)} multiply-accumulates an image of {height}x{width} "
        f"({amount(facts.parameters)} parameters):"
    )
    kept = [role for role, _ in _kept(facts)]
    longest = max(map(len, facts.shares), default=0)
    for role, share in facts.shares.items():
        real = any(role == own or role.startswith(f"{own}.") for own in kept)
        yield f"#   {role:{longest}}  {share:6.1%}  {'real-valued' if real else 'quantized'}"
    yield "quantize:"
    lines = {
        f"  weight: {{bits: {weight}, quantizer: lsq, per: channel}}": "a scale for each output channel, symmetric",
        f"  activation: {{bits: {activation}, quantizer: lsq+, per: tensor}}": "a scale and a zero point each",
        f"  attention: {{bits: {attention}, quantizer: lsq+, per: head}}": "query, key, value and probabilities",
    }
    longest = max(map(len, lines))
    yield from (f"{line:{longest}}   # {text}" for line, text in lines.items())
    rules = _kept(facts)
    if rules:
        yield "  rules:   # in order, the last match wins; `qrecipe plan` shows what each of them decides"
        for role, reason in rules:
            yield from comment(reason, "    ")
            yield f'    - {{match: "role:{role}", keep: float}}'
    yield "  batch_norm: frozen   # folded into the convolutions; statistics of small batches would only disturb them"


def _kept(facts: Facts) -> list[tuple[str, str]]:
    """Roles that stay real-valued, and why."""
    reasons = {
        "backbone.stem": "The first convolution reads the image itself; the published figures leave it real-valued.",
        "head": "Boxes and scores come straight out of the heads: few operations, and errors there are not made good.",
        "decoder.position": "This reads or makes box coordinates, four numbers in 0..1: coarse steps move boxes.",
    }
    return [(role, reason) for role, reason in reasons.items() if facts.has(role)]


def _distill(content: Content) -> Iterator[str]:
    facts = content.facts
    if not facts.layers and not facts.distillable:
        yield from comment(
            "No cross-attention was found in this model, so queries are not aligned and nothing is distilled. If it "
            "has one, name its modules under model.roles: {decoder.cross_attention: GLOB}, and see docs/method.md."
        )
        return
    source = "the teacher above" if content.teacher else "the model itself, real-valued"
    yield from comment(f"Distillation as in Q-DETR (CVPR 2023); the teacher is {source}.")
    yield "distill:"
    if facts.layers:
        yield from comment(
            f"The query of the cross-attention, in {facts.layers} decoder layer{'s'[: facts.layers != 1]}, is "
            "standardised and scaled again before it is quantized.",
            "  ",
        )
        yield "  align:"
        yield f"    - {{at: {QUERY}, per: head}}"
    else:
        yield from comment("Queries are not aligned: none was found that could be.", "  ")
    if facts.distillable:
        yield from comment(
            "What the last layer gathers for queries near an object (tau: how near) is drawn to the teacher's. The "
            "weight counts against the detection loss.",
            "  ",
        )
        yield "  targets:"
        yield f"    - at: {FEATURE}"
        yield "      layers: last"
        yield "      loss: l2"
        yield "      weight: 2.5"
        yield "      match: {kind: foreground, tau: 0.6, giou: 2, l1: 5}"


def _train(content: Content) -> Iterator[str]:
    training = content.training
    backbone = f", lr_backbone: {rate(training.backbone)}" if training.backbone else ""
    yield from comment(
        "Before training, ranges are calibrated on 64 training images; a small model at four bits or fewer may detect "
        f"nothing until it is trained. Values: {training.origin}."
    )
    yield "train:"
    if min(content.bits) >= 8:
        yield from comment("At 8 bits calibration is often enough: try epochs: 0 first.", "  ")
    yield f"  epochs: {training.epochs}   # more of them is what low bits need most"
    yield f"  batch_size: {training.batch}"
    yield from comment("lr_quantizer: a step changes a scale by up to this share of itself.", "  ")
    yield f"  optimizer: {{name: adamw, lr: {rate(training.lr)}{backbone}, weight_decay: 1.0e-4, lr_quantizer: 5.0e-3}}"
    yield "  schedule: {name: one_cycle, final: 0.01}"
    yield f"  clip_norm: {training.clip}"
    yield "  evaluate_every: 1   # epochs; the epoch that is best on val is kept"
    yield from comment(
        "control: true also trains the real-valued model on for as long, in about as much time again: it says what of "
        "a gain is the training's and not the method's.",
        "  ",
    )
    yield "  control: false"


def _data(content: Content) -> Iterator[str]:
    data = content.data
    yield "data:"
    yield f"  format: {data['format']}"
    if data["format"] == "synthetic":
        yield from comment("Shapes on textured grounds, made on first use; counts are images.", "  ")
        yield f"  synthetic: {flow(data['synthetic'])}"
    else:
        for split, text in {
            "train": "",
            "val": "   # chooses the best epoch",
            "test": "   # read once, at the very end",
        }.items():
            if split in data:
                yield f"  {split}:{text}"
                yield f"    images: {scalar(data[split]['images'])}"
                yield f"    annotations: {scalar(data[split]['annotations'])}"
        if "test" not in data:
            yield from comment("No test split: the final scores are from val, which chose the epoch.", "  ")
            yield "  # test: {images: FOLDER, annotations: FILE.json}"
    yield "  transforms: {flip: 0.5}   # mirrored half of the time: set 0 where left and right mean different things"
