"""The text of a new recipe: a template of this folder with what is known filled in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from textwrap import wrap
from typing import Any

from ...experiment.workspace import Workspace
from ...planning import by_role, cost_of, taken_by_alignment
from ...recipe.definition import SPLITS, InputSpec, Recipe
from ...report.amounts import amount
from ...student import Original, make_plan, plan_size
from ...vocabulary import BACKBONE_OUTPUT, ENCODER_OUTPUT, FEATURE, QUERY

WIDTH = 110
LABELS = "   # the factory is given the data's number of categories under this name"
KEPT = {"stem": "backbone.stem", "head": "head", "position": "decoder.position"}
"""Roles that stay real-valued where there are any; the template says why."""
SMALL = 5_000_000
"""Parameters of a model below which it trains as a DEIMv2 of 0.5 M, and above which as is usual for DETRs."""
VALUES = {
    "demo": "as in the quickstart recipe",
    "little": "these worked for a DEIMv2 of 0.5 M parameters on 205 images",
    "large": "usual for fine-tuning DETRs; not tried on yours",
}
"""Where the template's values of training come from."""
PLAIN = {"w_map": 3, "w_feature": 1, "w_class": 1, "w_l1": 5, "w_giou": 2}
LARGER = {"w_map": 10, "w_feature": 4, "w_class": 4, "w_l1": 20, "w_giou": 8}
WITH_CORNERS = ("d_fine", "deimv2")
"""Families whose detection loss is larger by that of the corners' distributions; weights as in recipes/base."""


def filled(template: str, values: Mapping[str, Any]) -> str:
    """A template with its ``$names`` replaced, and long comments wrapped.

    A line that begins with ``?name `` stands only where that value is true, one with ``?name|other `` where either is.
    """
    lines: list[str] = []
    for line in Path(__file__).with_name(template).read_text(encoding="utf-8").splitlines():
        needed, text = line[1:].split(" ", 1) if line.startswith("?") else ("", line)
        if not needed or any(values.get(name) for name in needed.split("|")):
            lines += Template(text).substitute(values).split("\n")
    return "".join(f"{line}\n" for long in lines for line in _wrapped(long))


def _wrapped(line: str) -> list[str]:
    indent, mark, text = line.partition("# ")
    if not mark or indent.strip() or len(text) + len(indent) <= WIDTH:
        return [line]
    return [f"{indent}# {part}" for part in wrap(text, WIDTH - len(indent), break_on_hyphens=False)]


def said(text: str) -> str:
    """Text for a comment, on one line."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def scalar(value: object) -> str:
    """A value on one line, which every YAML reader takes for itself."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(letter if letter.isprintable() else f"\\U{ord(letter):08x}" for letter in text)


def flow(values: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{key}: {scalar(value)}" for key, value in values.items()) + "}"


def block(values: Mapping[str, Any], indent: str) -> str:
    return "\n".join(f"{indent}{key}: {scalar(value)}" for key, value in values.items())


def model_text(section: Mapping[str, Any]) -> str:
    """The keys under ``model``; what is empty is left out."""
    lines = []
    for key, value in section.items():
        if value and key == "config":
            lines += [f"  {key}:", block(value, "    ")]
        elif value:
            text = flow(value) if key == "weights" else scalar(value)
            lines.append(f"  {key}: {text}" + (LABELS if key == "labels_argument" else ""))
    return "\n".join(lines)


def input_text(chosen: InputSpec, default: InputSpec) -> str:
    """``model.input``: the size in its own form, and values where they are not the family's default."""
    keys = ("size", "within", "shortest", "longest", "multiple")
    found = {key: getattr(chosen, key) for key in keys if getattr(chosen, key) is not None}
    if (chosen.mean, chosen.std) != (default.mean, default.std):
        found |= {"mean": chosen.mean, "std": chosen.std}
    return flow(found)


def captured_values(workspace: Workspace) -> dict[str, Any]:
    """Where the work of a model is, and what of it is left real-valued; of a recipe that quantizes nothing."""
    original, recipe = workspace.original, workspace.recipe
    plan = make_plan(original, recipe)
    total, rows = cost_of(plan), {row.name: row for row in by_role(plan)}
    roles = dict.fromkeys(site.role for site in plan.sites.values() if site.counts)
    kept: set[str] = set()
    lines = []
    for role in roles:
        own = {name for name, whole in KEPT.items() if f"{role}.".startswith(f"{whole}.")}
        share = f"{rows[role].cost.macs / max(total.macs, 1):6.1%}  {'real-valued' if own else 'quantized'}"
        lines.append(f"#   {role:{max(map(len, roles))}}  {share}")
        kept |= own
    size = "demo" if recipe.model.architecture == "demo" else "little" if total.parameters < SMALL else "large"
    return {
        **dict.fromkeys(kept, True),
        "macs": amount(total.macs),
        "parameters": amount(total.parameters),
        "shown": "{}x{}".format(*plan_size(original.input)),
        "shares": "\n".join(lines),
        size: True,
        "values": VALUES[size],
    }


def distilled_values(original: Original, recipe: Recipe, others: str = "") -> dict[str, Any]:
    """What can be distilled, and how. others: why a teacher's queries are not the student's, where they are not.

    Detectors with sigmoids for scores learn query by query; those with a softmax as in Q-DETR, whose detector is one.
    """
    structure = original.structure(recipe.model.roles)
    training = structure.programs["train"]
    layers, tapped = len(training.queries), {role for role, _ in training.taps}
    same = not others and FEATURE in tapped and original.family.scores == "sigmoid"
    paper = not same and (FEATURE in tapped or bool(layers))
    blend = any(taken_by_alignment(structure, one, "head") for one in training.queries)
    return {
        "same": same,
        "others": f"; queries are matched by their boxes, as {others}" if others else "",
        "backbone_map": same and BACKBONE_OUTPUT in tapped,
        "encoder_map": same and ENCODER_OUTPUT in tapped,
        **(LARGER if original.family.name in WITH_CORNERS else PLAIN),
        "paper": paper,
        "aligned": paper and layers,
        "layers": f"{layers} decoder layer{'s'[: layers != 1]}",
        "blend": paper and blend,
        "blended": ", blend: learned" if blend else "",
        "unaligned": paper and not layers,
        "taught": paper and FEATURE in tapped,
        "undistilled": not same and not paper,
        "query": QUERY,
        "feature": FEATURE,
    }


def data_values(data: Mapping[str, Any], categories: Sequence[str]) -> dict[str, Any]:
    """The section of the data, and its categories."""
    splits = {name: block(data[name], "    ") for name in SPLITS if name in data}
    return {
        "count": len(categories),
        "listed": said(", ".join(categories[:8]) + (", ..." if len(categories) > 8 else "")),
        "format": data["format"],
        "synthetic": flow(data["synthetic"]) if "synthetic" in data else "",
        **splits,
        "untested": "train" in data and "test" not in data,
    }
