"""qrecipe: compile any detection transformer into a quantized, distilled student from a YAML recipe.

What the commands do, as functions. They take a recipe's file or a ``Recipe``, return data and
print nothing; ``listener=print`` shows the events that they tell.

    import qrecipe

    qrecipe.validate("recipe.yaml")                    what is wrong with a recipe, all of it
    qrecipe.plan("recipe.yaml")                        which sites it quantizes, why, and what that costs
    qrecipe.bind("recipe.yaml")                        the same, with the teacher and one training step tried
    qrecipe.inspect("recipe.yaml")                     what the model is made of
    qrecipe.diff("a.yaml", "b.yaml")                   keys and sites that differ
    qrecipe.apply("recipe.yaml", "runs/mine")          calibrate, train, evaluate, into a run folder
    qrecipe.sweep("sweep.yaml")                        a recipe with all that is varied in it, and every seed
    qrecipe.evaluate("runs/mine", "test")              COCO AP of a run, a saved student, or a recipe's own model
    qrecipe.predict("runs/mine", ["photo.jpg"])        detections
    qrecipe.write_report(["runs/mine"])                its page for a browser, made again; several runs on one page
    qrecipe.compare(["runs/a", "runs/b"])              means over seeds, and how sure their differences are
    qrecipe.export("runs/mine", "student.onnx")        its student for other runtimes
    qrecipe.bench("runs/mine")                         its size and latency in runtimes
    qrecipe.sensitivity("recipe.yaml")                 what each part loses when it alone is quantized
    qrecipe.search("recipe.yaml", "size=0.15")         bits for every layer within a budget
    qrecipe.init("detr", "coco")                       a commented recipe for a model and data

A student in a loop of one's own:

    recipe = qrecipe.load_recipe("recipe.yaml", ["train.epochs=1"])
    student = qrecipe.compile(model, recipe)           quantized, called like the model
    qrecipe.calibrate(student, batches)                first ranges, from batches of data
    module = qrecipe.TrainingModule(student, teacher)  its loss, distillation included
    qrecipe.save(student, "folder")
    student = qrecipe.load("folder")

Whatever a user can mend is a ``QRecipeError``: what is wrong, where, and what to do about it.

Names are looked up on first use, so that ``import qrecipe`` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .commands.apply import Applied, apply
    from .commands.bench import bench
    from .commands.bind import bind
    from .commands.compare import Compared, compare
    from .commands.diff import diff
    from .commands.evaluate import Evaluated, evaluate
    from .commands.export import export
    from .commands.init import Started, init
    from .commands.inspect import Inspection, inspect
    from .commands.plan import plan
    from .commands.predict import Predictions, predict
    from .commands.report import Reported, write_report
    from .commands.search import Found, search
    from .commands.sensitivity import Sensitivity, sensitivity
    from .commands.sweep import Swept, sweep
    from .commands.validate import Validation, validate
    from .data.batch import Batch
    from .deploy import Exported
    from .errors import QRecipeError, RecipeErrors
    from .latency import Benched
    from .planning import Comparison, Plan, describe
    from .recipe import Recipe, load_recipe, recipe_from_mapping
    from .student import Student, calibrate, compile, load, real_valued, save
    from .train.module import TrainingModule

HOMES = {
    "Applied": "commands.apply",
    "Batch": "data.batch",
    "Benched": "latency",
    "Compared": "commands.compare",
    "Comparison": "planning",
    "Evaluated": "commands.evaluate",
    "Exported": "deploy",
    "Found": "commands.search",
    "Inspection": "commands.inspect",
    "Plan": "planning",
    "Predictions": "commands.predict",
    "QRecipeError": "errors",
    "Recipe": "recipe",
    "RecipeErrors": "errors",
    "Reported": "commands.report",
    "Sensitivity": "commands.sensitivity",
    "Started": "commands.init",
    "Student": "student",
    "Swept": "commands.sweep",
    "TrainingModule": "train.module",
    "Validation": "commands.validate",
    "apply": "commands.apply",
    "bench": "commands.bench",
    "bind": "commands.bind",
    "calibrate": "student",
    "compare": "commands.compare",
    "compile": "student",
    "describe": "planning",
    "diff": "commands.diff",
    "evaluate": "commands.evaluate",
    "export": "commands.export",
    "init": "commands.init",
    "inspect": "commands.inspect",
    "load": "student",
    "load_recipe": "recipe",
    "plan": "commands.plan",
    "predict": "commands.predict",
    "real_valued": "student",
    "recipe_from_mapping": "recipe",
    "save": "student",
    "search": "commands.search",
    "sensitivity": "commands.sensitivity",
    "sweep": "commands.sweep",
    "validate": "commands.validate",
    "write_report": "commands.report",
}
"""Where each public name is. No room has one of these names: importing it would put its module in their place."""

__all__ = [
    "Applied",
    "Batch",
    "Benched",
    "Compared",
    "Comparison",
    "Evaluated",
    "Exported",
    "Found",
    "Inspection",
    "Plan",
    "Predictions",
    "QRecipeError",
    "Recipe",
    "RecipeErrors",
    "Reported",
    "Sensitivity",
    "Started",
    "Student",
    "Swept",
    "TrainingModule",
    "Validation",
    "apply",
    "bench",
    "bind",
    "calibrate",
    "compare",
    "compile",
    "describe",
    "diff",
    "evaluate",
    "export",
    "init",
    "inspect",
    "load",
    "load_recipe",
    "plan",
    "predict",
    "real_valued",
    "recipe_from_mapping",
    "save",
    "search",
    "sensitivity",
    "sweep",
    "validate",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'qrecipe' has no attribute {name!r}")
    return getattr(import_module(f".{HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__doc__", "__version__"])
