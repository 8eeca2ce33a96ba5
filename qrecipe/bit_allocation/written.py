"""A search's outcome as a recipe that a person can read and change."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..recipe.definition import Recipe
from ..recipe.dump import dump, one_line
from .rules import BitRule


def searched_recipe(
    recipe: Recipe, rules: Sequence[BitRule], comments: Sequence[str], base: Path | None, folder: Path
) -> str:
    """YAML text: the recipe with rules behind its own.

    Args:
        comments: lines for its head, without their ``#``.
        base: the recipe's file, which is extended; None writes all of the recipe out, as one that was changed by
            ``--set`` has no file. folder: where the text will lie.
    """
    own = list(recipe.resolved.get("quantize", {}).get("rules", []))
    rows = [_row(rule) for rule in own]
    added = [_row(rule.to_dict()) for rule in rules]
    head = [f"# {line}".rstrip() for line in comments]
    if base is None:
        data = {key: value for key, value in recipe.resolved.items() if key not in ("quantize", "output", "name")}
        quantize = {key: value for key, value in recipe.resolved["quantize"].items() if key != "rules"}
        body = [dump(data).rstrip(), dump({"quantize": quantize}).rstrip()]
    else:
        text = os.path.relpath(base.resolve(), folder.resolve())
        head_keys: dict[str, Any] = {"extends": text, "version": recipe.version}
        if recipe.output is not None:
            head_keys["output"] = f"{recipe.output}_searched"  # the recipe's own holds runs of the recipe
        body = [dump(head_keys).rstrip(), "quantize:"]
    lines = [*head, *body, "  rules:"]
    if rows:
        lines += ["  # as the recipe had them:", *rows]
    lines += ["  # what the search chose:", *added]
    return "\n".join(lines) + "\n"


def _row(rule: Mapping[str, Any]) -> str:
    return f"  - {one_line(rule)}"
