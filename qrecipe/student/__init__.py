"""A compiled student: made, calibrated, saved."""

from .calibrate import CalibrationReport, calibrate, change_bits, inputs_of
from .compile import compile
from .deployable import Deployable
from .make import make_plan, make_student, model_spec, plan_size, real_valued
from .original import Original, capture_original
from .store import load, save
from .student import Student

__all__ = [
    "CalibrationReport",
    "Deployable",
    "Original",
    "Student",
    "calibrate",
    "capture_original",
    "change_bits",
    "compile",
    "inputs_of",
    "load",
    "make_plan",
    "make_student",
    "model_spec",
    "plan_size",
    "real_valued",
    "save",
]
