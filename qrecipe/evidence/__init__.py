"""What a student does on a few images, beside its teacher: what both find, where quantization errs, their queries."""

from .attention import Attended, attended, is_deformable, why_not_attended
from .disagreement import OVERLAP, THRESHOLD, Judged, disagreement, judge
from .noise import Noise, measuring_noise
from .queries import histograms
from .watched import watched_like

__all__ = [
    "OVERLAP",
    "THRESHOLD",
    "Attended",
    "Judged",
    "Noise",
    "attended",
    "disagreement",
    "histograms",
    "is_deformable",
    "judge",
    "measuring_noise",
    "watched_like",
    "why_not_attended",
]
