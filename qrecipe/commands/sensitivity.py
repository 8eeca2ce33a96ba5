"""``qrecipe sensitivity``: what quantizing each part of a detector costs, without labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import SearchError
from ..experiment.events import Listener, PartMeasured, nobody
from ..experiment.trials import Trials
from ..experiment.workspace import Workspace
from ..recipe.definition import Recipe
from ..recipe.given import read_recipe
from ..run.files import write_atomically, write_json
from ..run.layout import RUNS
from ..sensitivity_analysis import By, measure, parts_of
from ..sensitivity_analysis import Sensitivity as Sensitivity
from ..sensitivity_analysis.measure import Trialled
from ..sensitivity_analysis.parts import DEPTH
from ..train.denormals import flushed_denormals

IMAGES = 16
WIDTHS = (8, 4)
RESULT, CHART = "sensitivity.json", "sensitivity.svg"


def sensitivity(
    recipe: Recipe | Path | str,
    output: Path | str | None = None,
    *,
    bits: Sequence[int] = WIDTHS,
    by: By = "role",
    depth: int = DEPTH,
    images: int = IMAGES,
    scored: bool = False,
    overrides: Sequence[str] = (),
    random_weights: bool = False,
    cache: bool = True,
    listener: Listener = nobody,
) -> Sensitivity:
    """Quantize each part of a recipe's model alone, and everything but it, and see how far predictions move.

    What is quantized, and how, is the recipe's; only the bits are changed. Each measurement is a pass over a few images
    of the training split, and is kept in ``output``: a command that was cut off goes on where it was.

    Args:
        output: a folder for the measurements, the table as JSON and a chart; by default ``runs/NAME_sensitivity``.
        bits: widths to measure at. by: what a part is. depth: levels of module paths, by module.
        images: how many predictions are compared on. scored: measure AP on the validation split as well.
        overrides: such as ``quantize.rules=[]``. random_weights: leave the recipe's weights out.
        cache: whether a capture that an earlier command has kept will do, and a new one is kept.

    Raises:
        SearchError: the recipe quantizes nothing. RunError: the folder holds something else.
        QRecipeError: whatever the recipe, the data or the model has wrong with it.
    """
    from ..report.charts import sensitivity_chart

    read = read_recipe(recipe, overrides, random_weights)
    require_quantizers(read)
    folder = Path(output or RUNS / f"{read.name}_sensitivity").resolve()
    workspace = Workspace(read, ("train", "val") if scored else ("train",), listener, cache=cache)
    with flushed_denormals(), Trials(workspace, tuple(bits), images, folder, "sensitivity", scored) as trials:
        parts = parts_of(trials.gauge.plan, trials.gauge.names, by, depth)
        if not parts:
            raise SearchError("the recipe quantizes nothing of the deployed graph, so there is nothing to measure")

        def tell(part: str, width: int, alone: Trialled, number: int, total: int) -> None:
            listener(PartMeasured(part, width, alone.distance, number, total))

        rows, whole = measure(trials.gauge, parts, bits, trials, tell)
        real = trials.AP({}) if scored else None
        found = Sensitivity(by, trials.images, tuple(rows), whole, real, folder / CHART)
        write_json(folder / RESULT, found.to_dict())
        write_atomically(folder / CHART, sensitivity_chart(found).encode())
    return found


def require_quantizers(recipe: Recipe) -> None:
    """Raises: SearchError: the recipe quantizes nothing."""
    if not recipe.quantize.asks:
        raise SearchError(
            "the recipe quantizes nothing",
            where=recipe.where(("quantize",)),
            remedy="name the quantizers of weights and activations; their bits are what is measured",
        )
