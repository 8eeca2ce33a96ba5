"""What a runtime that a recipe names cannot compute in integers, said where the recipe says it."""

from __future__ import annotations

from pathlib import Path

import pytest

from qrecipe.recipe import load_recipe
from tests.recipe.examples import MINIMAL, problems, write

FITS = """\
target: {target}
quantize:
  weight: {{bits: 8, quantizer: lsq, per: channel}}
  activation: {{bits: 8, quantizer: lsq+, per: tensor, offset: {offset}}}
  attention: {{bits: 8, quantizer: lsq+, per: tensor, offset: {offset}}}
"""

CASES = {
    "heads": ("onnxruntime", "attention: {bits: 8, quantizer: lsq+, per: head}",
              "quantize.attention.per: target: onnxruntime and per: head contradict each other: ", "set per: tensor"),
    "real": ("openvino", "activation: {bits: 8, quantizer: lsq+, per: tensor, offset: real}",
             "5:63: quantize.activation.offset: ", "set offset: none or integer"),
    "relu": ("onnxruntime", "activation: {bits: 4, quantizer: lsq+, per: tensor, offset: none}",
             "5:63: quantize.activation.offset: ", "set offset: integer"),
    "default offset": ("tensorrt", "activation: {bits: 8, quantizer: lsq+, per: tensor}",
                       "5:15: quantize.activation: target: tensorrt and offset: integer", "set offset: none"),
    "bits": ("tensorrt", "attention: {bits: 4, quantizer: lsq+, per: tensor, offset: none}",
             "5:21: quantize.attention.bits: target: tensorrt and bits: 4", "set bits: 8"),
    "rule": ("onnxruntime", "rules: [{match: 'op:x', attention: {per: head}}]",
             "5:44: quantize.rules[0].attention.per: target: onnxruntime", "set per: tensor"),
}  # fmt: skip


@pytest.mark.parametrize(("target", "offset"), [("onnxruntime", "integer"), ("openvino", "none"), ("tensorrt", "none")])
def test_what_fits(tmp_path: Path, target: str, offset: str) -> None:
    path = write(tmp_path, MINIMAL + FITS.format(target=target, offset=offset))
    assert load_recipe(path).target == target


@pytest.mark.parametrize("case", CASES)
def test_what_contradicts(tmp_path: Path, case: str) -> None:
    target, line, place, remedy = CASES[case]
    path = write(tmp_path, f"{MINIMAL}target: {target}\nquantize:\n  {line}\n")
    (said,) = problems(path)
    assert place in said, said
    assert remedy in said


def test_without_a_target_nothing_is_asked(tmp_path: Path) -> None:
    line = "attention: {bits: 4, quantizer: lsq+, per: head, offset: real}"
    path = write(tmp_path, f"{MINIMAL}quantize:\n  {line}\n")
    assert load_recipe(path).target is None
