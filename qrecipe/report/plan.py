"""The plan in a terminal: by role, module or rule, what stays real-valued, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from rich.table import Table

from ..planning import DEPTH, Decision, Part, Plan, by_module, by_role, cost_of, real_macs, unquantized, whole
from ..recipe.definition import WholeSpec
from ..vocabulary import OPERAND_KINDS, OperandKind
from .amounts import BIT_OPERATIONS, OPERATIONS, amount, bits_text, size, tight
from .table import compact

By = Literal["role", "module", "rule"]
BY: tuple[By, ...] = ("role", "module", "rule")

WORDS = f"""\
sites: operands with a quantizer / operands of operations that multiply
  (additions, concatenations, pools and SiLU count where they are quantized)
bytes: weights packed at their bits, 4 bytes for each scale, offset and the rest
share: of all MACs
{OPERATIONS}
{BIT_OPERATIONS}
W-A-Att: bits of weights, activations, attention operands; 32 is real-valued"""
RULE_WORDS = """\
weights, activ., atten.: weights, activations and attention operands that it
  decides / that it is about; the last rule that matches decides
W-A-Att: the bits of those that it decides, 32 for real-valued"""
IN_PART = "in part: operands that a later rule decides, but not in all their keys"


def plan_tables(
    plan: Plan, by: By = "role", depth: int = DEPTH, sites: bool = False, wide: bool = True
) -> Iterator[Table | str]:
    """The parts of what ``qrecipe plan`` prints, and what their words mean.

    Args:
        by: what the main table has a row for. depth: levels of module paths.
        sites: add one line per site. wide: whether there is room for 100 columns.
    """
    if sites:
        yield _sites(plan)
    at = f"costs of one image of {plan.image_size[0]}x{plan.image_size[1]}"
    if by == "rule":
        yield _rules(plan)
    else:
        rows = by_role(plan) if by == "role" else by_module(plan, depth)
        yield _parts(f"By {by}, {at}", by, [*rows, whole(plan)], wide)
    yield _unquantized(plan)
    if plan.blocks:
        yield _blocks(plan)
    if plan.whole:
        yield _whole(plan.whole)
    yield _costs(plan)
    in_part = [IN_PART] if any(decision.in_part for decision in plan.decisions) else []
    yield WORDS if by != "rule" else "\n".join([RULE_WORDS, *in_part, OPERATIONS, BIT_OPERATIONS])
    said = [*(f"note: {note}" for note in _notes(plan)), *(f"warning: {warning}" for warning in plan.warnings)]
    if said:
        yield "\n".join(said)


def _parts(title: str, head: str, rows: list[Part], wide: bool) -> Table:
    """A row for each part, the last of them the sum."""
    costs = ("operations", "bit operations") if wide else ("ops", "bit ops")
    table = compact(title, head, figures=("W-A-Att", "sites", "params", "bytes", "MACs", "share", *costs))
    total = max(rows[-1].cost.macs, 1)
    for row in rows:
        cost = row.cost
        bits = bits_text(row.bits["weight"], row.bits["activation"], row.bits["attention"])
        last = row is rows[-1]
        if last:
            table.add_section()
        table.add_row(
            row.name,
            "" if last else bits if row.sites else ".",
            f"{row.quantized}/{row.sites}" if row.sites else ".",
            *map(tight, (cost.parameters, cost.bytes, cost.macs)),
            f"{cost.macs / total:.1%}",
            *map(tight, (cost.operations, cost.bit_operations)),
        )
    return table if wide else _dense(table)


def _dense(table: Table) -> Table:
    """One space between columns instead of two, and no figure broken. Mutates the table."""
    table.padding = (0, 0, 0, 0)
    for column in table.columns[1:]:
        column.no_wrap = True
    return table


def _rules(plan: Plan) -> Table:
    parts = any(decision.in_part for decision in plan.decisions)
    heads = ("W-A-Att", "weights", "activ.", "atten.", *(("in part",) if parts else ()))
    table = compact("By rule, in the recipe's order", "decided by", figures=heads)
    for decision in plan.decisions:
        sites = [site for site in plan.sites.values() if site.reason == decision.reason]
        bits = ([plan.bits(site.name) for site in sites if site.kind == kind] for kind in OPERAND_KINDS)
        name = f"{decision.reason}\n  {decision.place}" if decision.place else decision.reason
        cells = [_share(decision, kind) for kind in OPERAND_KINDS]
        if parts:
            cells.append(str(sum(decision.in_part.values()) or "."))
        table.add_row(name, bits_text(*bits) if sites else "-", *cells)
    return table


def _share(decision: Decision, kind: OperandKind) -> str:
    return f"{decision.decided.get(kind, 0)}/{decision.matched[kind]}" if kind in decision.matched else "."


def _unquantized(plan: Plan) -> str:
    """What has no quantizer: each reason with its place, and below it roles, operators and their share of the MACs."""
    listed = unquantized(plan)
    macs = max(cost_of(plan).macs, 1)
    count = sum(sum(one.operators.values()) for one in listed)
    lines = [f"Real-valued: {count} of {len(plan.sites)} operands, in {real_macs(plan) / macs:.1%} of the MACs"]
    width = max((len(one.role) for one in listed), default=0)
    reason = None
    for one in listed:
        if one.reason != reason:
            lines.append(f"  {one.reason}" + (f" ({one.place})" if one.place else ""))
            reason = one.reason
        operators = ", ".join(f"{name} {count}" for name, count in one.operators.items())
        share = f"{one.macs / macs:.1%}" if one.macs else "no MACs"
        lines.append(f"    {one.role or 'everywhere':<{max(width, 10)}}  {share:>7}  {operators}")
    if plan.unsupported:
        lines.append("  no recipe quantizes these, and their cost is not counted")
        lines += _filled([f"{name} {count}" for name, count in plan.unsupported.items()])
    return "\n".join(lines)


def _blocks(plan: Plan) -> str:
    """What reconstruction optimises at once, in its order, and how many operations with weights each has."""
    width = max(len(block.name) for block in plan.blocks)
    rows = [f"  {block.name:<{width}}  {len(block.operations):>3}" for block in plan.blocks]
    return "\n".join(["Reconstruction, block by block (operations with weights):", *rows])


def _whole(spec: WholeSpec) -> str:
    """Reconstruction of the whole network."""
    images = f"{spec.batch_size} of the first {spec.images} training images"
    return f"Reconstruction of the whole network: about {spec.steps} steps, each on {images}."


def _filled(words: list[str], indent: str = "    ", width: int = 80) -> list[str]:
    """Words with commas between them, in lines of ``width``."""
    lines = [indent]
    for number, word in enumerate(words):
        text = word if number == len(words) - 1 else f"{word}, "
        if len(lines[-1]) + len(text.rstrip()) > width:
            lines.append(indent)
        lines[-1] += text
    return [line.rstrip() for line in lines]


def _costs(plan: Plan) -> Table:
    cost = cost_of(plan)
    fewer = cost.macs / cost.operations if cost.operations else 1.0
    real = cost.macs * 32 * 32
    table = compact("In all", "", "", show_header=False)
    table.add_row("parameters", amount(cost.parameters))
    table.add_row("weights, scales, offsets", f"{size(cost.bytes)} (real-valued {size(cost.float_bytes)})")
    table.add_row("multiply-accumulates", amount(cost.macs))
    table.add_row("operations", f"{amount(cost.operations)} ({fewer:.2f}x fewer)")
    bit_fewer = real / cost.bit_operations if cost.bit_operations else 1.0
    table.add_row("bit operations", f"{amount(cost.bit_operations)} ({bit_fewer:.1f}x fewer)")
    table.add_row(
        "aligned queries", f"in {len(plan.alignments)} of the decoder's layers" if plan.alignments else "none"
    )
    if plan.equalized:
        table.add_row(
            "equalized chains", f"{len(plan.equalized)}, {sum(one.channels for one in plan.equalized)} channels"
        )
    if plan.smoothed:
        table.add_row("smoothed norms", f"{len(plan.smoothed)}, {sum(one.channels for one in plan.smoothed)} channels")
    if plan.corrections:
        added = sum(one.added for one in plan.corrections)
        table.add_row("corrected biases", f"{len(plan.corrections)} ({added} of them added)")
    table.add_row("taps", "\n".join(tap.name for tap in plan.taps) or "none")
    return table


def _notes(plan: Plan) -> Iterator[str]:
    """What holds of some sites, and what the family leaves out."""
    for note in sorted({site.note for site in plan.sites.values() if site.note}):
        yield f"{note} ({sum(site.note == note for site in plan.sites.values())} sites)"
    yield from plan.notes


def _sites(plan: Plan) -> str:
    """One line per site, its columns aligned: lines that are searched, and so never broken."""
    rows = [("site", "operator", "role", "shape", "quantizer", "decided by")]
    for site in plan.sites.values():
        spec = site.spec
        text = "real" if spec is None else f"{spec.bits} bits {spec.quantizer} per {spec.per}"
        rows.append((site.name, site.operator, site.role, site.shape, text, site.reason))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
