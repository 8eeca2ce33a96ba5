"""Stages of a training whose bits change nothing in a model."""

from __future__ import annotations

from collections.abc import Mapping

from ..recipe.definition import Recipe
from .decisions import place_in_words
from .plan import Site


def stage_warnings(recipe: Recipe, sites: Mapping[str, Site]) -> list[str]:
    """One for each stage with bits that every quantizer has anyway."""
    own = [site.spec.bits for site in sites.values() if site.spec is not None]
    if not own:
        return []
    return [
        f"{place_in_words(recipe, ('train', 'stages', index, 'bits'))}: no quantizer has fewer than {min(own)} bits, "
        "so that this stage trains what the recipe's own bits would"
        for index, stage in enumerate(recipe.train.stages)
        if stage.bits is not None and stage.bits <= min(own)
    ]
