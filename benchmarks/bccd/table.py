"""The table of docs/results.md from the summaries of finished runs.

python benchmarks/bccd/table.py runs/bccd_lsq runs/bccd_qdetr [...]
"""

from __future__ import annotations

import sys
from pathlib import Path

from qrecipe.run import RunFolder


def main(folders: list[str]) -> None:
    """Print a Markdown table: one row per model of each run, shares of that run's teacher and of the given control."""
    print("| run | model | AP | AP50 | AP75 | of the teacher | of the control |")
    print("|---|---|---|---|---|---|---|")
    summaries = {folder: RunFolder.read(Path(folder)).summary() for folder in folders}
    control = next((row for s in summaries.values() if (row := s.row("control")) is not None), None)
    for folder, summary in summaries.items():
        teacher = summary.row("teacher")
        for row in summary.rows:
            shares = [
                f"{row.scores['AP'] / other.scores['AP']:.1%}" if other and other.scores["AP"] > 0 else ""
                for other in (teacher, control)
            ]
            scores = " | ".join(f"{row.scores[name]:.3f}" for name in ("AP", "AP50", "AP75"))
            print(f"| {Path(folder).name} | {row.model} | {scores} | {' | '.join(shares)} |")


if __name__ == "__main__":
    main(sys.argv[1:])
