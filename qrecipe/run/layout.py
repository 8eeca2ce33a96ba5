"""What lies where in a run folder: every name once, and nothing heavy to import."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

RUNS = Path("runs")
"""Where runs are kept that were told no other place."""

RECIPE = "recipe.json"
RECIPE_TEXT = "recipe.yaml"
PLAN = "plan.json"
ENVIRONMENT = "environment.json"
INPUTS = "inputs.json"
PHASES = "phases.json"
METRICS = "metrics.jsonl"
TRACKERS = "trackers.json"
SUMMARY = "summary.json"
MATCHES = "matches"
PICTURE = "detections.png"
REPORT = "report.html"
EXPORTS = "exports.json"
BENCH = "bench.json"
EVIDENCE = "evidence"
CHECKPOINTS = "checkpoints"
LAST = "last"
BEST = "best"

Which = Literal["trained", "control", "calibrated", "reconstructed", "real", "off"]
"""The models that a command can be pointed at: four that a run keeps; real, the real-valued model; off, a student
with its quantizers off."""
WHICH: tuple[Which, ...] = get_args(Which)

MODELS: dict[str, str] = {
    "trained": "student",
    "control": "control",
    "calibrated": "calibrated",
    "reconstructed": "reconstructed",
}
"""The folder of each model that a run keeps."""


def is_run(folder: Path) -> bool:
    """Whether a run was started here."""
    return (folder / RECIPE).exists()


def is_finished(folder: Path) -> bool:
    """Whether a run is through here."""
    return (folder / SUMMARY).exists()
