"""Recipes that the tests of this folder start from."""

from __future__ import annotations

from pathlib import Path

from qrecipe.errors import RecipeErrors
from qrecipe.recipe import load_recipe

MINIMAL = "version: 1\nmodel: {architecture: demo}\n"

FULL = """\
# every key of the language
version: 1
name: full
seed: 7
output: runs
model:
  architecture: detr
  config: {backbone: resnet50, queries: 100, nested: {deep: [1, 2.5, null]}}
  labels: category_id
  weights: {hub: facebook/detr-resnet-50, revision: no_timm}
  family: detr
  input: {shortest: 800, longest: 1333, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], mask: true}
  roles: {decoder.cross_attention: "model.decoder.*.q"}
teacher:
  factory: models/mine.py:build
  arguments: {pretrained: true}
  labels_argument: num_labels
  weights: {file: weights/teacher.safetensors}
  input: {size: [320, 320]}
quantize:
  weight: {bits: 4, quantizer: lsq, per: channel}
  activation: {bits: 4, quantizer: lsq+, per: tensor}
  attention: {bits: 8, quantizer: lsq+, per: head, offset: real, init: mse}
  rules:
    - {match: "role:backbone.stem", keep: float}
    - {match: ["role:decoder.*", "op:linear"], weight: {bits: 8}, activation: float}
  batch_norm: live
  calibration: {batches: 2, batch_size: 3}
distill:
  align: [{at: decoder.cross_attention.query, per: query, init: identity}]
  targets:
    - {at: decoder.cross_attention.output, layers: all, loss: l2, weight: 2.5,
       match: {kind: foreground, tau: 0.5, giou: 1, l1: 4}}
    - {at: decoder.cross_attention.output, match: {kind: all}}
train:
  stages:
    - {name: backbone, epochs: 2, quantize: [backbone]}
    - {name: full, epochs: 3}
  batch_size: 16
  optimizer: {name: adamw, lr: 1e-4, weight_decay: 0.05, betas: [0.9, 0.99], lr_backbone: 1e-5, lr_quantizer: 2e-3}
  schedule: {name: step, warmup: 10, drop_at: [3], factor: 0.2, final: 0.1}
  clip_norm: null
  loss: {classification: focal, no_object: 0.2, focal_alpha: 0.3, focal_gamma: 1, class_weight: 2, l1: 4, giou: 3,
         auxiliary: false}
  control: true
  evaluate_every: 2
  precision: bf16
data:
  format: coco
  train: {images: coco/train, annotations: coco/train.json}
  val: {images: coco/val, annotations: coco/val.json}
  test: {images: /coco/test, annotations: /coco/test.json}
  synthetic: {train: 5, val: 4, test: 3, size: 64, seed: 9}
  transforms: {flip: 0.25, multiscale: [480, 512], crop: true}
  workers: 2
"""


def write(folder: Path, text: str, name: str = "recipe.yaml") -> Path:
    """A recipe file in a folder; its parents are made."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def problems(path: Path, *overrides: str) -> list[str]:
    """The problems of a recipe as lines, its folder left out; empty where it has none."""
    try:
        load_recipe(path, overrides)
    except RecipeErrors as errors:
        return [str(problem).replace(f"{path.parent}/", "") for problem in errors.problems]
    return []
