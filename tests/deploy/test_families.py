"""Detectors of transformers as files of one size: what both runtimes compute, and that products stay in integers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from qrecipe.capture import capture
from qrecipe.data.batch import Batch
from qrecipe.deploy import export_student
from qrecipe.errors import ExportError
from qrecipe.models.families import build_family
from qrecipe.recipe.definition import LossSpec
from qrecipe.runtimes import RUNTIMES
from qrecipe.student import Original, Student, calibrate, make_student
from tests.deploy.conftest import translated_once
from tests.specimens import W4A4, a_recipe, images
from tests.tiny_detectors import stir, tiny_deimv2, tiny_detr

onnx = pytest.importorskip("onnx", reason="qrecipe[onnx] is not installed")
pytest.importorskip("onnxscript", reason="qrecipe[onnx] is not installed")
pytest.importorskip("onnxruntime", reason="qrecipe[onnx] is not installed")

INTEGER = {
    "weight": {"bits": 8, "quantizer": "lsq", "per": "channel"},
    "activation": {"bits": 8, "quantizer": "lsq+", "per": "tensor", "offset": "integer"},
    "attention": {"bits": 8, "quantizer": "lsq+", "per": "tensor", "offset": "integer"},
}
FOUR = {**W4A4, "activation": {**W4A4["activation"], "offset": "integer"}, "attention": INTEGER["attention"]}
SIZE = (64, 96)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "detr": lambda: tiny_detr(encoder_layers=1, decoder_layers=1),
    "deimv2": lambda: tiny_deimv2(decoder_layers=2, depth_mult=0.34),
}


def calibrated(name: str, quantize: dict[str, object]) -> Student:
    """In float32, unlike other tests' specimens."""
    model = stir(MODELS[name]()).eval()
    family = build_family(model, LossSpec())
    pixels, mask = (value.to(torch.float32 if value.is_floating_point() else value.dtype) for value in images(2, *SIZE))
    captured = capture(model, family.forward, family.inputs(pixels, mask))
    student = make_student(Original(captured, family, family.default_input), a_recipe(quantize))
    label = {"class_labels": torch.tensor([1]), "boxes": torch.tensor([[0.5, 0.5, 0.2, 0.2]])}
    calibrate(student, [Batch(pixels, mask, [label, label], [0, 1], torch.tensor([SIZE, SIZE]))])
    return student.eval()


@pytest.mark.parametrize(
    ("name", "bits", "products"), [("detr", FOUR, 20), pytest.param("deimv2", INTEGER, 20, marks=pytest.mark.full)]
)
@torch.no_grad()
def test_both_runtimes_compute_what_the_student_computes(
    name: str, bits: dict[str, object], products: int, tmp_path: Path
) -> None:
    """The middle of all queries' differences, for a value between two levels may fall to the other one; each query
    is compared with the nearest, for two of nearly the same score may change places.

    Sizes are fixed, where ONNX Runtime would make floating-point Gemms of products and biases.
    """
    student = calibrated(name, bits)
    pixels = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    expected = student.predict(pixels).logits.numpy()
    with translated_once():
        for mode in ("packed", "integer"):
            path = tmp_path / f"{mode}.onnx"
            export_student(student, path, mode, batch=1, height=SIZE[0], width=SIZE[1])
            for runtime in RUNTIMES.values():
                try:
                    session = runtime.open(path, threads=1, rewrites=mode == "integer")
                except ExportError as error:
                    pytest.skip(str(error))
                found = session.run({"pixel_values": pixels.numpy()})
                apart = np.abs(found["logits"][0][None] - expected[0][:, None]).max(-1).min(1)
                assert np.median(apart) < (1e-5 if mode == "packed" else 0.02)
                if mode == "integer":
                    assert sum(one.integer for one in session.operators() or ()) > products
