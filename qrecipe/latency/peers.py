"""Other programs' quantization of the same real-valued network, calibrated on the same images."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import ExportError
from ..runtimes import need
from ..runtimes.runtime import Array

INPUT = "pixel_values"


def static_qdq(
    real: Path, folder: Path, images: Sequence[Array], *, calibrator: str = "MinMax", reduce_range: bool = False
) -> Path:
    """ONNX Runtime's own static quantization: QDQ, weights int8 per channel, activations uint8.

    Args:
        real: the float ONNX file. images: batches for its input. calibrator: its name for how ranges are found.
        reduce_range: weights of 7 bits, which its documentation advises for processors without VNNI.

    Raises: ExportError: ``qrecipe[onnx]`` is not installed.
    """
    need("onnx", "onnxruntime")
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter(images)

        def get_next(self) -> dict[str, Array] | None:
            image = next(self.left, None)
            return None if image is None else {INPUT: image}

    prepared, made = folder / "prepared.onnx", folder / "static_qdq.onnx"
    with _quietly("root"):
        quant_pre_process(str(real), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(made),
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod[calibrator],
            reduce_range=reduce_range,
        )
    return made


def nncf_int8(
    real: Path, folder: Path, images: Sequence[Array], *, preset: str = "mixed", transformer: bool = True
) -> Path:
    """NNCF's post-training quantization, as an OpenVINO model. preset, transformer: as NNCF names them.

    Raises: ExportError: nncf or ``qrecipe[openvino]`` is not installed.
    """
    need("openvino", extra="openvino")
    if not _has_nncf():
        raise ExportError("nncf is not installed", remedy="pip install nncf")
    import nncf
    import openvino

    made = folder / "nncf.xml"
    with _quietly("nncf"):
        quantized = nncf.quantize(
            openvino.Core().read_model(str(real)),
            nncf.Dataset([{INPUT: image} for image in images]),
            preset=nncf.QuantizationPreset(preset),
            model_type=nncf.ModelType.TRANSFORMER if transformer else None,
            subset_size=len(images),
        )
        openvino.save_model(quantized, str(made), compress_to_fp16=False)
    return made


def _has_nncf() -> bool:
    from importlib.util import find_spec

    return find_spec("nncf") is not None


@contextlib.contextmanager
def _quietly(logger: str) -> Iterator[None]:
    """Their progress bars, warnings and logs are not ours."""
    log: Any = logging.getLogger(None if logger == "root" else logger)
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
