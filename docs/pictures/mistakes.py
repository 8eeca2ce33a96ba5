"""Draws docs/pictures/mistakes.svg: what ``qrecipe validate recipe.yaml`` shows in a terminal in docs/mistakes.

python docs/pictures/mistakes.py
"""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path

from rich.console import Console
from rich.text import Text

from qrecipe.cli.problems import pictured
from qrecipe.errors import RecipeErrors
from qrecipe.recipe import load_recipe

FOLDER = Path(__file__).parents[1] / "mistakes"
WIDTH = 118
FORMAT = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">
<style>
.{unique_id}-matrix {{font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; \
font-size: {char_height}px; line-height: {line_height}px; white-space: pre}}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""rich's own without its fonts, which come from the network."""


def picture() -> str:
    """The terminal as SVG; the same text for the same files."""
    os.environ.pop("NO_SUCH_PLACE", None)
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, no_color=False)
    console.print(Text.assemble(("docs/mistakes$ ", "green"), "qrecipe validate recipe.yaml"))
    try:
        with contextlib.chdir(FOLDER):
            load_recipe("recipe.yaml")
    except RecipeErrors as errors:
        for problem in errors.problems:
            with contextlib.chdir(FOLDER):
                for line in pictured(problem, console):
                    console.print(line, overflow="fold", highlight=False)
        console.print(f"{len(errors.problems)} problems", style="bold", highlight=False)
    return console.export_svg(title="qrecipe validate", code_format=FORMAT, unique_id="mistakes")


if __name__ == "__main__":
    Path(__file__).with_suffix(".svg").write_text(picture(), encoding="utf-8")
