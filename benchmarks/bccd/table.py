"""The table of docs/results.md from finished runs: teacher.yaml's, control.yaml's, then the students'.

python benchmarks/bccd/table.py runs/bccd_teacher runs/bccd_control runs/bccd_lsq runs/bccd_qdetr
"""

from __future__ import annotations

import sys
from pathlib import Path

from qrecipe.report.amounts import share, three_places
from qrecipe.run.folder import RunFolder
from qrecipe.run.summary import SummaryRow


def last_row(folder: Path) -> SummaryRow:
    """The model that a run ends with."""
    return RunFolder.read(folder).summary().rows[-1]


def main(teacher: Path, control: Path, *students: Path) -> None:
    """Print a Markdown table of the test scores, with shares of teacher and control."""
    references = last_row(teacher), last_row(control)
    rows = [("teacher", references[0]), ("control", references[1])]
    for student in students:
        rows += [(f"{student.name}, {row.model}", row) for row in RunFolder.read(student).summary().rows[1:]]
    print("| model | AP | AP50 | AP75 | of the teacher | of the control |")
    print("|---|---|---|---|---|---|")
    for name, row in rows:
        scores = [three_places(row.scores[key]) for key in ("AP", "AP50", "AP75")]
        shares = [share(row.scores["AP"], other.scores["AP"]) for other in references]
        print(f"| {' | '.join([name, *scores, *shares])} |")


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
