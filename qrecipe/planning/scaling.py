"""Which of a model's chains a recipe scales: those with something quantized in them."""

from __future__ import annotations

from collections.abc import Mapping

from ..structure import Chain, Structure
from ..structure.chains import ChainKind
from .plan import Site


def plan_scaling(structure: Structure, sites: Mapping[str, Site], kind: ChainKind) -> tuple[Chain, ...]:
    """The chains of one kind that have a quantized weight or activation, in the structure's order."""
    quantized = {name for name, site in sites.items() if site.quantizer is not None}
    return tuple(chain for chain in structure.chains if chain.kind == kind and quantized.intersection(chain.sites))
