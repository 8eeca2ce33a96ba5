"""The ground truth of a json without its images."""

from __future__ import annotations

from pathlib import Path

from qrecipe.data.document import read_document
from qrecipe.data.problems import Problems
from qrecipe.data.truth import Truth, truth_of


def read_truth(annotations: Path) -> Truth:
    problems = Problems()
    document = read_document(annotations, problems)
    problems.raise_any(annotations)
    return truth_of(document)
