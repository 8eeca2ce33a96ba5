"""An ONNX file that gives out values of its inside too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import ExportError


def with_outputs(file: Path | bytes, names: Sequence[str]) -> bytes:
    """The file with these values as outputs behind its own.

    Raises: ExportError: the graph has no such value.
    """
    import onnx

    model = onnx.load_from_string(file) if isinstance(file, bytes) else onnx.load(str(file))
    made = {name for node in model.graph.node for name in node.output}
    have = {value.name for value in model.graph.output}
    unknown = [name for name in names if name not in made]
    if unknown:
        raise ExportError(f"the graph has no value {unknown[0]!r}")
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(names) if name not in have)
    return bytes(model.SerializeToString())
