"""What quantizing each part of a detector costs, measured without labels."""

from .distance import Distance, prediction_distance
from .gauge import Gauge
from .measure import Measured, Sensitivity, Trialled, measure
from .parts import BY, By, PartOfModel, parts_of

__all__ = [
    "BY",
    "By",
    "Distance",
    "Gauge",
    "Measured",
    "PartOfModel",
    "Sensitivity",
    "Trialled",
    "measure",
    "parts_of",
    "prediction_distance",
]
