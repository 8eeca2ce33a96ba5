"""A compiled student: made, calibrated, saved."""

from .calibrate import CalibrationReport, calibrate
from .compile import compile
from .deployable import Deployable
from .make import make_plan, make_student, plan_size, real_valued
from .source import Source, capture_source
from .store import load, save
from .student import Student

__all__ = [
    "CalibrationReport",
    "Deployable",
    "Source",
    "Student",
    "calibrate",
    "capture_source",
    "compile",
    "load",
    "make_plan",
    "make_student",
    "plan_size",
    "real_valued",
    "save",
]
