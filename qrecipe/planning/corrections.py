"""Which layers' biases calibration corrects: those of every quantized weight of a convolution or a linear layer."""

from __future__ import annotations

from collections.abc import Mapping

from ..structure import Structure
from .plan import PlannedCorrection, Site

CORRECTED = ("conv", "linear")
"""Operators whose output has its channels in the weight's dimension 0."""


def plan_corrections(structure: Structure, sites: Mapping[str, Site]) -> tuple[PlannedCorrection, ...]:
    """One for each quantized weight, in the sites' order."""
    bare = _without_bias(structure)
    return tuple(
        PlannedCorrection(name, int(site.extents[0] or 0), name in bare)
        for name, site in sites.items()
        if site.kind == "weight" and site.quantizer == name and site.operator in CORRECTED
    )


def _without_bias(structure: Structure) -> set[str]:
    """The weights of which a layer has no bias of its own."""
    operations = (operation for program in structure.programs.values() for operation in program.operations)
    return {site for operation in operations if not operation.biased for _, site in operation.sites}
