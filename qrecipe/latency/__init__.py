"""What a student costs in runtimes: size and latency beside float and beside other programs' quantization."""

from .compare import BenchSettings, compare, compare_file
from .result import Benched, Left, Row

__all__ = ["BenchSettings", "Benched", "Left", "Row", "compare", "compare_file"]
