"""The plan in a terminal: by role, by rule, what stays real-valued, and what it costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rich.table import Table

from ..plan import Plan, Site, cost_of
from .table import compact

OPERATIONS = """\
operations: multiply-accumulates (MACs) of one image, each counted as b/32,
  where b is the number of bits of its wider operand"""
"""What the word means in every table."""


def plan_tables(plan: Plan, sites: bool = False) -> Iterator[Table | str]:
    """The tables of ``qrecipe plan`` and what their words mean; ``sites`` adds one line per site."""
    if sites:
        yield _sites(plan)
    yield _roles(plan)
    yield _reasons(plan)
    yield _costs(plan)
    yield OPERATIONS + "\nfewer: MACs per operation\nW-A-Att: bits of weights, activations, attention operands"


def bits_text(weight: str, activation: str, attention: str) -> str:
    """Bits as in the papers: W-A-Attention."""
    return f"{weight}-{activation}-{attention}"


def _bits(sites: list[Site], kind: str) -> str:
    found = sorted({site.spec.bits if site.spec else 32 for site in sites if site.kind == kind})
    return "/".join("real" if bits == 32 else str(bits) for bits in found) or "."


def _roles(plan: Plan) -> Table:
    heads = ("quantized", "params", "MACs", "share", "fewer")
    title = f"By role, costs of one image of {plan.image_size[0]}x{plan.image_size[1]}"
    table = compact(title, "role", "W-A-Att", figures=heads)
    total = cost_of(plan)
    for role in dict.fromkeys(site.role for site in plan.sites.values()):
        sites = [site for site in plan.sites.values() if site.role == role and site.operator not in ("add", "cat")]
        if not sites:
            continue
        cost = cost_of(plan, [operation for operation in plan.operations if operation.role == role])
        parameters = sum(plan.parameters.get(site.name, 0) for site in sites if site.kind == "weight")
        table.add_row(
            role,
            bits_text(_bits(sites, "weight"), _bits(sites, "activation"), _bits(sites, "attention")),
            f"{sum(site.quantizer is not None for site in sites)}/{len(sites)}",
            amount(parameters),
            amount(cost.macs),
            f"{cost.macs / max(total.macs, 1):.1%}",
            f"{cost.macs / cost.operations:.2f}x" if cost.operations else ".",
        )
    return table


def _reasons(plan: Plan) -> Table:
    table = compact("By rule", "decided by", figures=("sites", "W-A-Att"))
    counts = Counter(site.reason for site in plan.sites.values())
    for reason, count in counts.items():
        sites = [site for site in plan.sites.values() if site.reason == reason]
        kinds = (_bits(sites, kind) for kind in ("weight", "activation", "attention"))
        table.add_row(reason, str(count), bits_text(*kinds))
    for note in sorted({site.note for site in plan.sites.values() if site.note}):
        table.add_row(f"note: {note}", str(sum(site.note == note for site in plan.sites.values())), "")
    for note in plan.notes:
        table.add_row(f"note: {note}", "", "")
    return table


def _costs(plan: Plan) -> Table:
    cost = cost_of(plan)
    fewer = cost.macs / cost.operations if cost.operations else 1.0
    table = compact("In all", "", "", show_header=False)
    table.add_row("parameters", amount(cost.parameters))
    table.add_row("weights, scales, offsets", f"{size(cost.bytes)} (real-valued {size(cost.float_bytes)})")
    table.add_row("multiply-accumulates", amount(cost.macs))
    table.add_row("operations", f"{amount(cost.operations)} ({fewer:.2f}x fewer)")
    table.add_row("bit operations", f"{amount(cost.bit_operations)} (a MAC counts the product of its operands' bits)")
    table.add_row(
        "aligned queries", f"in {len(plan.alignments)} of the decoder's layers" if plan.alignments else "none"
    )
    table.add_row("taps", "\n".join(tap.name for tap in plan.taps) or "none")
    return table


def _sites(plan: Plan) -> str:
    """One line per site, its columns aligned: lines that are searched, and so never broken."""
    rows = [("site", "operator", "role", "shape", "quantizer", "decided by")]
    for site in plan.sites.values():
        spec = site.spec
        text = "real" if spec is None else f"{spec.bits} bits {spec.quantizer} per {spec.per}"
        rows.append((site.name, site.operator, site.role, site.shape, text, site.reason))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def amount(value: float) -> str:
    """A count with three digits and its unit: 81.2 G."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def size(count: float) -> str:
    """Bytes with three digits and their unit: 2.89 MB."""
    text = amount(count)
    return f"{text}B" if text[-1].isalpha() else f"{text} B"
