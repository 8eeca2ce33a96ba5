"""The page itself: one HTML file with its style, its script and its pictures inside, and nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...errors import RunError
from ...run.files import write_atomically
from .contents import Contents

MISSING = RunError(
    "a page needs jinja2, which is not installed", remedy="pip install 'qrecipe[report]'; a run works without it"
)


def can_render() -> bool:
    return find_spec("jinja2") is not None


def render(runs: Sequence[Contents]) -> str:
    """HTML. Raises: RunError: jinja2 is missing."""
    return filled(
        "page.html",
        runs=runs,
        title=", ".join(run.name for run in runs),
        style=beside("page.css") + beside("evidence.css"),
        script=beside("page.js") + beside("steps.js"),
        going_on=not all(run.finished for run in runs),
    )


def filled(template: str, **values: Any) -> str:
    """A template of this folder with its values, whose text is escaped. Raises: RunError: jinja2 is missing."""
    if not can_render():
        raise MISSING
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(beside), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(template).render(**values)


def beside(name: str) -> str:
    """The text of a file of this folder."""
    return (files(__package__) / name).read_text(encoding="utf-8")


def write_page(path: Path, runs: Sequence[Contents]) -> None:
    """Raises: RunError: jinja2 is missing, or the file cannot be written."""
    write_atomically(path, render(runs).encode())
