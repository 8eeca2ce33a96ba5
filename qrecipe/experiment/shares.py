"""Whether a batch has an image for every process."""

from __future__ import annotations

from ..processes import count
from ..recipe.definition import Recipe


def require_shares(recipe: Recipe, key: tuple[str, ...], images: int) -> None:
    """Raises: RecipeError: a batch of so many images, which a key says, is fewer than there are processes."""
    if images < count():
        what = f"{count()} processes share a batch of {images}"
        raise recipe.error(key, what, "start as many processes as a batch has images, or fewer")
