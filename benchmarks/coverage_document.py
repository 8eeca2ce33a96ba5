"""The Markdown page of benchmarks/coverage.py: tables from its rows, no cell by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

HEAD = """\
# Coverage

Written by `python benchmarks/coverage.py`; no cell is made by hand. Each row is the family's shipped 4-4-8 recipe,
aligned and distilled as in Q-DETR where it distils at all (most ship with `base/same_queries.yaml` instead), with
random weights, at the model's published size, captured at a small image and run at others; in float64, or where the
model itself makes float32 tables on the way, in float32. BatchNorms have the statistics of two batches of noise.

Simulated quantization throughout. What the recipes keep real-valued by a rule (`keep: float`) is left out of "MACs
covered"; everything else without a quantizer is named in the last table.
"""
CAPTURE = """
## Capture

Nodes of the two graphs; seconds for capturing both and checking them at two other sizes, on the machine that wrote
this page. Differences between the student with its quantizers off (BatchNorm folded and frozen, attention decomposed)
and the model, relative to the largest value: the worst of three shapes ({shapes}), in training and in
evaluation mode. A shape that the model itself refuses is counted as refused.

| recipe | model | parameters | in | nodes train, eval | seconds | outputs | gradients | refused |
|---|---|---|---|---|---|---|---|---|
"""
STUDENT = """
## The student

Sites quantized of all sites of operations that multiply; multiply-accumulates (MACs) with both operands quantized, of
those that no rule keeps real-valued; decoder layers whose cross-attention query is aligned; the losses of two training
steps after calibration (of models with more than 100 M parameters on one image of 192x256); quantizers whose scale had
a finite gradient other than zero in one of them; the largest difference after strict loading into another student, and
after `copy.deepcopy`.

| recipe | sites | MACs covered | aligned | losses | scales with a gradient | reloaded | copied |
|---|---|---|---|---|---|---|---|
"""
ROLES = """
## Roles and distillation targets

Targets: what can be distilled (`at:` of a target, all layers), each with a finite loss and finite gradients.

| recipe | roles | targets |
|---|---|---|
"""
REST = """
## What stays real-valued beside the recipes' own rules, and what is left out

Operands by operator (`add`, `cat`, `silu`, `avg_pool`: only by a rule that names them), and operations that no
recipe quantizes.

| recipe | real-valued | left out |
|---|---|---|
"""
ZEROS = """
## Scales without a gradient in these steps

A projection that reads zeros, as those of the first content query of Conditional and DAB-DETR do, has none to give; nor
has an input that only a top-k reads.

"""


def document(rows: Sequence[Mapping[str, Any]], failures: Mapping[str, str]) -> str:
    """The page. failures: recipe to the last line that it ended with."""
    shapes = ", ".join(dict.fromkeys(key.partition(" ")[2] for row in rows[:1] for key in row["differences"]))
    parts = [
        HEAD,
        CAPTURE.format(shapes=shapes) + "\n".join(_capture(row) for row in rows),
        STUDENT + "\n".join(_student(row) for row in rows),
        ROLES + "\n".join(_roles(row) for row in rows),
        REST + "\n".join(_rest(row) for row in rows),
    ]
    missing = [
        f"- {row['recipe']}: {', '.join(f'`{name}`' for name in row['without_gradient'])}"
        for row in rows
        if row["without_gradient"]
    ]
    if missing:
        parts.append(ZEROS + "\n".join(missing))
    if failures:
        listed = "\n".join(f"- {name}: {message}" for name, message in failures.items())
        parts.append(f"\n## Failed\n\n{listed}")
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _line(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _capture(row: Mapping[str, Any]) -> str:
    found = [pair for pair in row["differences"].values() if pair is not None]
    refused = [key for key, pair in row["differences"].items() if pair is None]
    return _line(
        row["recipe"],
        row["model"],
        f"{row['parameters'] / 1e6:.1f} M",
        row["dtype"],
        f"{row['nodes']['train']}, {row['nodes']['eval']}",
        f"{row['seconds']:.0f}",
        f"{max(pair[0] for pair in found):.0e}" if found else "-",
        f"{max(pair[1] for pair in found):.0e}" if found else "-",
        f"{len(refused)} of {len(row['differences'])}",
    )


def _student(row: Mapping[str, Any]) -> str:
    return _line(
        row["recipe"],
        f"{row['sites'][0]}/{row['sites'][1]}",
        f"{row['covered']:.1%}",
        f"{row['aligned']} of {row['layers']}",
        ", ".join(f"{loss:.3g}" for loss in row["losses"]),
        f"{row['scales'][0]}/{row['scales'][1]}",
        f"{row['reloaded']:.0e}",
        f"{row['copied']:.0e}",
    )


def _roles(row: Mapping[str, Any]) -> str:
    targets = [name if fine else f"{name} (not finite)" for name, fine in row["targets"].items()]
    return _line(row["recipe"], ", ".join(row["roles"]), ", ".join(targets) or "none")


def _rest(row: Mapping[str, Any]) -> str:
    counts = ", ".join(f"{name} {count}" for name, count in row["kept"].items())
    return _line(row["recipe"], counts, "; ".join(row["notes"]) or "-")
