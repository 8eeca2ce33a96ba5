"""Two recipes and their plans side by side: which keys, which sites and which costs differ."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ...recipe.definition import QuantizerSpec, Recipe, dotted
from ...recipe.differences import Difference, by_likeness, differing
from ..decisions import place_of
from ..plan import Plan, Site
from .breakdown import whole

ABSENT = "absent"
"""What stands for a key or a site that only the other one has."""


@dataclass(frozen=True)
class KeyChange:
    """A key that differs. a, b: its values; ``in_a``, ``in_b``: whether it is there; places: ``file:line``, or ""."""

    key: str
    in_a: bool
    in_b: bool
    a: Any
    b: Any
    place_a: str
    place_b: str


@dataclass(frozen=True)
class SiteChange:
    """Operands that differ in the same way. a, b: the quantizer in words, ``real`` or ``absent``."""

    role: str
    operator: str
    operand: str
    a: str
    b: str
    count: int


@dataclass(frozen=True)
class Total:
    """One figure of both plans."""

    name: str
    a: float
    b: float


@dataclass(frozen=True)
class Comparison:
    """What differs. same_model: whether both recipes build the same model. sites, totals: None where no model was
    built."""

    a: str
    b: str
    same_model: bool
    keys: tuple[KeyChange, ...]
    sites: tuple[SiteChange, ...] | None = None
    totals: tuple[Total, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def key_changes(a: Recipe, b: Recipe) -> list[KeyChange]:
    """The keys of the resolved recipes that differ, in the order of the first.

    A recipe's name is left out unless both wrote one: by itself it is the name of the file.
    """
    mine, theirs = dict(a.resolved), dict(b.resolved)
    if any(recipe.marks and ("name",) not in recipe.marks for recipe in (a, b)):
        mine.pop("name", None)
        theirs.pop("name", None)
    return [_change(a, b, found) for found in differing(mine, theirs, by_likeness)]


def _change(a: Recipe, b: Recipe, found: Difference) -> KeyChange:
    path = found.at_a if found.at_a is not None else found.at_b
    assert path is not None
    place_a = place_of(a, found.at_a) if found.at_a is not None else ""
    place_b = place_of(b, found.at_b) if found.at_b is not None else ""
    return KeyChange(dotted(path), found.at_a is not None, found.at_b is not None, found.a, found.b, place_a, place_b)


def site_changes(a: Plan, b: Plan) -> list[SiteChange]:
    """The sites that differ in what they are, or that one alone has, counted by role, operator and operand."""
    counts: dict[tuple[str, str, str, str, str], int] = {}
    for name in dict.fromkeys((*a.sites, *b.sites)):
        one, other = a.sites.get(name), b.sites.get(name)
        site = one or other
        assert site is not None
        texts = _text(one), _text(other)
        if texts[0] != texts[1]:
            key = (site.role, site.operator, site.operand, *texts)
            counts[key] = counts.get(key, 0) + 1
    return [SiteChange(*key, count) for key, count in counts.items()]


def _text(site: Site | None) -> str:
    return ABSENT if site is None else spec_text(site.spec)


def spec_text(spec: QuantizerSpec | None) -> str:
    """A quantizer in words: ``4 bits lsq per channel``."""
    if spec is None:
        return "real"
    offset = "" if spec.offset == "none" else f", {spec.offset} offset"
    init = "" if spec.init is None else f", init {spec.init}"
    scale = "" if spec.scale == "real" else ", powers of two"
    return f"{spec.bits} bits {spec.quantizer} per {spec.per}{offset}{init}{scale}"


def totals(a: Plan, b: Plan) -> list[Total]:
    """Both plans' costs, and how much each quantizes, aligns and taps."""
    mine, theirs = whole(a), whole(b)
    costs = {name: (value, theirs.cost.to_dict()[name]) for name, value in mine.cost.to_dict().items()}
    counts = {
        "sites": (mine.sites, theirs.sites),
        "quantized sites": (mine.quantized, theirs.quantized),
        "quantizers": (len(a.quantizers), len(b.quantizers)),
        "aligned queries": (len(a.alignments), len(b.alignments)),
        "taps": (len(a.taps), len(b.taps)),
    }
    return [Total(name, *pair) for name, pair in {**costs, **counts}.items() if name != "float_bytes"]
