"""The JSON Schema of recipes: the file in the package, with the quantizers and initialisers that the tables have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .quantizer_table import INITIALISERS, QUANTIZERS, quantizers_of


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a recipe; a copy of one's own."""
    loaded: dict[str, Any] = json.loads(schema_text())
    return loaded


def schema_text() -> str:
    """The schema as it stands in the package, where that says what the tables say; ``make schema`` writes it."""
    text = Path(__file__).with_name("schema.json").read_text(encoding="utf-8")
    stored = json.loads(text)["$defs"]
    for (definition, key, word), value in _from_tables().items():
        text = text.replace(json.dumps(stored[definition]["properties"][key][word]), json.dumps(value))
    return text


def _from_tables() -> dict[tuple[str, str, str], Any]:
    """What the schema says of quantizers, by definition, key and word."""
    trained = [name for name, row in QUANTIZERS.items() if row.trained]
    fixed = [name for name, row in QUANTIZERS.items() if not row.trained]
    without = [name for name in quantizers_of("activation") if QUANTIZERS[name].offsets["activation"][0] == "none"]
    return {
        ("quantizer", "quantizer", "enum"): list(QUANTIZERS),
        ("quantizer", "quantizer", "description"): (
            f"Kind of quantizer: {_listed(trained)} train their scales, {_listed(fixed)} keep them as calibrated."
        ),
        ("quantizer", "offset", "description"): (
            "none is symmetric; integer has an integer zero point; real is LSQ+ as published. "
            f"Where absent: none for weights and for {_listed(without)}, integer otherwise."
        ),
        ("quantizer", "init", "enum"): [*INITIALISERS, None],
        ("override", "init", "enum"): [*INITIALISERS, None],
    }


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
