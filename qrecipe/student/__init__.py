"""A compiled student: made, calibrated, saved."""

from .calibrate import CalibrationReport, calibrate
from .compile import Source, capture_source, compile, make_plan, make_student, plan_size, real_valued
from .student import Student

__all__ = [
    "CalibrationReport",
    "Source",
    "Student",
    "calibrate",
    "capture_source",
    "compile",
    "make_plan",
    "make_student",
    "plan_size",
    "real_valued",
]
