"""The JSON Schema of recipes: the file in the package, with the names and words that the tables of rows have."""

from __future__ import annotations

import json
from functools import reduce
from pathlib import Path
from typing import Any, get_args

from .distill_table import LOSSES, MATCHERS, Compared, losses_of
from .quantizer_table import INITIALISERS, QUANTIZERS, quantizers_of


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a recipe; a copy of one's own."""
    loaded: dict[str, Any] = json.loads(schema_text())
    return loaded


def schema_text() -> str:
    """The schema as it stands in the package, where that says what the tables say; ``make schema`` writes it."""
    text = Path(__file__).with_name("schema.json").read_text(encoding="utf-8")
    stored = json.loads(text)["$defs"]
    for path, value in _from_tables().items():
        old = reduce(lambda part, key: part[key], path.split("/"), stored)
        text = text.replace(json.dumps(old), json.dumps(value))
    return text


def _from_tables() -> dict[str, Any]:
    """What the schema says of the rows of tables, by path below its definitions."""
    trained = [name for name, row in QUANTIZERS.items() if row.trained]
    fixed = [name for name, row in QUANTIZERS.items() if not row.trained]
    without = [name for name in quantizers_of("activation") if QUANTIZERS[name].offsets["activation"][0] == "none"]
    distances = " ".join(_distances(what) for what in get_args(Compared))
    matchers = "; ".join(f"{name}: {row.what}" for name, row in MATCHERS.items())
    return {
        "quantizer/properties/quantizer/enum": list(QUANTIZERS),
        "quantizer/properties/quantizer/description": (
            f"Kind of quantizer: {_listed(trained)} train their scales, {_listed(fixed)} keep them as calibrated."
        ),
        "quantizer/properties/offset/description": (
            "none is symmetric; integer has an integer zero point; real is LSQ+ as published. "
            f"Where absent: none for weights and for {_listed(without)}, integer otherwise."
        ),
        "quantizer/properties/init/enum": [*INITIALISERS, None],
        "override/properties/init/enum": [*INITIALISERS, None],
        "target/properties/loss/enum": list(LOSSES),
        "target/properties/loss/description": f"How a pair is compared. {distances} Default: l2.",
        "target/properties/match/properties/kind/enum": list(MATCHERS),
        "target/properties/match/properties/kind/description": f"{matchers}. Default: foreground.",
    }


def _distances(what: Compared) -> str:
    rows = {name: LOSSES[name] for name in losses_of(what)}
    told = (f"{name} is {row.what}{f' (for {row.scores} scores)' if row.scores else ''}" for name, row in rows.items())
    return f"{what.capitalize()}: {'; '.join(told)}."


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
