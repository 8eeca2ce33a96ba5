"""Where in a recipe a model's errors are."""

from __future__ import annotations

from typing import Protocol, final

from ..errors import ModelError, QRecipeError
from ..recipe.definition import KeyPath, dotted


class ErrorAt(Protocol):
    """Makes an error located at a key path below the model's own, like ``Recipe.error``."""

    def __call__(self, path: KeyPath, what: str, remedy: str | None = None) -> QRecipeError: ...


def error_at_model(path: KeyPath, what: str, remedy: str | None = None) -> QRecipeError:
    """Where no recipe was given: the dotted path alone."""
    return ModelError(what, where=dotted(("model", *path)), remedy=remedy)


@final
class ModelPlace:
    """Turns whatever locates errors into ``ModelError``s with the same place."""

    def __init__(self, error: ErrorAt) -> None:
        self._error = error

    def error(self, path: KeyPath, what: str, remedy: str | None = None) -> ModelError:
        """An error at a key path below the model's, as ``("weights", "hub")``."""
        located = self._error(path, what, remedy)
        return ModelError(located.what, where=located.where, remedy=located.remedy)

    def relocated(self, path: KeyPath, error: ModelError) -> ModelError:
        """The same error, with the recipe's place before its own."""
        return self.error(path, f"{error.where}: {error.what}" if error.where else error.what, error.remedy)
