"""``qrecipe search``: bits for every weight and activation within a budget, as a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..bit_allocation import Budget, searched_recipe
from ..bit_allocation.choices import Choice, Granularity
from ..errors import RunError
from ..experiment.events import Listener, PartMeasured, nobody
from ..experiment.search_bits import BitSearch
from ..experiment.search_bits import Found as Found
from ..experiment.trials import Trials
from ..experiment.workspace import Workspace
from ..recipe.definition import Recipe
from ..recipe.given import read_recipe
from ..run.files import write_atomically, write_json
from ..run.layout import RUNS
from ..train.denormals import flushed_denormals
from .sensitivity import IMAGES, require_quantizers

WIDTHS = (8, 6, 4)


def search(
    recipe: Recipe | Path | str,
    budget: Budget | str,
    output: Path | str | None = None,
    *,
    bits: Sequence[int | None] = WIDTHS,
    by: Granularity = "module",
    images: int = IMAGES,
    scored: bool = True,
    overrides: Sequence[str] = (),
    random_weights: bool = False,
    cache: bool = True,
    listener: Listener = nobody,
) -> Found:
    """Choose the bits of everything that a recipe quantizes, by an integer program over what each choice costs alone.

    Written into ``output``, for a budget of ``size=0.15``: ``size_0.15.yaml``, the recipe with rules for the bits;
    ``size_0.15.json``; ``size_0.15.svg``, a picture of several budgets beside uniform widths. Measurements are kept
    there, so that another budget, or a command that was cut off, measures nothing twice.

    Args:
        budget: such as ``size=0.15``: the largest share of the real-valued model's.
        output: by default ``runs/NAME_search``.
        bits: widths to choose from; None lets a choice stay real-valued. by: what has one width in common.
        images: how many predictions are compared on. scored: AP on the validation split for what is chosen.
        cache: whether a capture that an earlier command has kept will do, and a new one is kept.

    Raises:
        SearchError: nothing is within the budget, or the recipe quantizes nothing.
        RunError: the folder holds something else, or a recipe of this name that is another.
        QRecipeError: whatever the recipe, the data or the model has wrong with it.
    """
    from ..report.charts import front_chart

    limit = Budget.read(budget) if isinstance(budget, str) else budget
    read = read_recipe(recipe, overrides, random_weights)
    require_quantizers(read)
    folder = Path(output or RUNS / f"{read.name}_search").resolve()
    stem = f"{limit.kind}_{limit.limit:g}"
    target = folder / f"{stem}.yaml"
    numbers = tuple(width for width in bits if width is not None)
    workspace = Workspace(read, ("train", "val") if scored else ("train",), listener, cache=cache)
    with flushed_denormals(), Trials(workspace, numbers, images, folder, f"search by {by}") as trials:
        searching = BitSearch(trials, bits, limit, by)

        def tell(choice: Choice, number: int, total: int) -> None:
            worst = max(searching.costs[-1].values())
            listener(PartMeasured(choice.name, min(numbers), worst, number, total))

        searching.measure(tell)
        found = searching.run(scored=scored)
        whole = isinstance(recipe, Recipe) or overrides or random_weights
        base = None if whole or isinstance(recipe, Recipe) else Path(recipe)
        found = replace(found, text=searched_recipe(read, found.rules, _comments(found), base, folder))
        _write_new(target, found.text)
        write_json(folder / f"{stem}.json", found.to_dict())
        write_atomically(folder / f"{stem}.svg", front_chart(found).encode())
    return replace(found, path=target)


def _comments(found: Found) -> list[str]:
    chosen, rival = found.chosen, found.rival
    lines = [
        f"Bits chosen by qrecipe search --budget {found.budget}, by {found.by}.",
        f"{found.budget.kind}: {chosen.share:.4f} of the real-valued model's; distance to its predictions on "
        f"{found.images} images {chosen.distance:.4g}.",
    ]
    if rival is not None:
        lines.append(f"{rival.name}: {rival.share:.4f}, distance {rival.distance:.4g}.")
    if chosen.AP is not None and found.AP_real is not None:
        beside = f", {rival.name} {rival.AP:.3f}" if rival is not None and rival.AP is not None else ""
        lines.append(f"Validation AP as calibrated: {chosen.AP:.3f}{beside}, real-valued {found.AP_real:.3f}.")
    return lines


def _write_new(path: Path, text: str) -> None:
    """Raises: RunError: another text is there, which is not overwritten."""
    if path.exists() and path.read_bytes() != text.encode():
        raise RunError(
            "is there already and says something else; it is not overwritten",
            where=str(path),
            remedy="move it away, or choose another --output",
        )
    write_atomically(path, text.encode())
