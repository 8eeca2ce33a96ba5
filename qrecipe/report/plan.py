"""The plan in a terminal: by role, by rule, what stays real-valued, and what it costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rich.table import Table

from ..plan import Plan, Site, cost_of


def plan_tables(plan: Plan, sites: bool = False) -> Iterator[Table]:
    """The tables of ``qrecipe plan``; ``sites`` adds one row per site."""
    if sites:
        yield _sites(plan)
    yield _roles(plan)
    yield _reasons(plan)
    yield _costs(plan)


def bits_text(weight: str, activation: str, attention: str) -> str:
    """Bits as in the papers: W-A-Attention."""
    return f"{weight}-{activation}-{attention}"


def _bits(sites: list[Site], kind: str) -> str:
    found = sorted({site.spec.bits if site.spec else 32 for site in sites if site.kind == kind})
    return "/".join("real" if bits == 32 else str(bits) for bits in found) or "."


def _roles(plan: Plan) -> Table:
    table = Table(title=f"By role, costs at {plan.image_size[0]}x{plan.image_size[1]}")
    for name in ("role", "W-A-Att bits"):
        table.add_column(name)
    for name in ("quantized sites", "parameters", "MACs", "of all", "operations"):
        table.add_column(name, justify="right")
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
            f"{sum(site.quantizer is not None for site in sites)} of {len(sites)}",
            f"{parameters:,}",
            amount(cost.macs),
            f"{cost.macs / max(total.macs, 1):.1%}",
            f"1/{cost.macs / cost.operations:.2f}" if cost.operations else ".",
        )
    return table


def _reasons(plan: Plan) -> Table:
    table = Table(title="By rule")
    table.add_column("decided by")
    table.add_column("sites", justify="right")
    table.add_column("W-A-Att bits")
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
    table = Table(title="Cost of one image", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("parameters", f"{cost.parameters / 1e6:.2f} M")
    table.add_row("weights and scales", f"{cost.bytes / 1e6:.2f} MB (real-valued {cost.float_bytes / 1e6:.2f} MB)")
    table.add_row("multiply-accumulates", amount(cost.macs))
    fewer = cost.macs / cost.operations if cost.operations else 1.0
    table.add_row("operations: MACs x wider operand's bits / 32", f"{amount(cost.operations)} ({fewer:.2f}x fewer)")
    table.add_row("bit operations: MACs x weight bits x activation bits", amount(cost.bit_operations))
    table.add_row("aligned queries", str(len(plan.alignments)))
    table.add_row("taps", ", ".join(tap.name for tap in plan.taps) or "none")
    return table


def _sites(plan: Plan) -> Table:
    table = Table(title=f"{len(plan.sites)} sites")
    for name in ("site", "operator", "role", "shape", "quantizer", "decided by"):
        table.add_column(name, overflow="fold")
    for site in plan.sites.values():
        spec = site.spec
        text = "real" if spec is None else f"{spec.bits} bits {spec.quantizer} per {spec.per}"
        table.add_row(site.name, site.operator, site.role, site.shape, text, site.reason)
    return table


def amount(value: float) -> str:
    """A count with three digits and its unit: 81.2 G."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"
