"""How images are prepared, in words."""

from __future__ import annotations

from .definition import InputSpec


def size_in_words(spec: InputSpec) -> str:
    """``64x64 pixels`` of a concrete input, or how sides are found where the aspect is kept."""
    if spec.size is not None:
        return f"{spec.size[0]}x{spec.size[1]} pixels"
    if spec.within is not None:
        text = f"as large as fits into {spec.within[0]}x{spec.within[1]} pixels"
    else:
        text = f"the shorter side {spec.shortest} pixels"
        text += f", the longer at most {spec.longest}" if spec.longest else ""
    return text + (f", both cut to multiples of {spec.multiple}" if spec.multiple else "")


def values_in_words(spec: InputSpec) -> str:
    """``values in 0..1``, or what is subtracted from them and divided by."""
    mean, std = (
        [float(f"{value:.6g}") for value in given or (default,) * 3]
        for given, default in ((spec.mean, 0.0), (spec.std, 1.0))
    )
    return "values in 0..1" if not any(mean) and set(std) == {1.0} else f"mean {mean}, std {std}"
