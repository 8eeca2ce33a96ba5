"""What goes from block to block."""

from __future__ import annotations

from dataclasses import dataclass

from ..data.batch import Batch
from ..student import Student
from ..student.calibrate import inputs_of
from .optimise import Pair
from .segments import Segment, Values, is_compared


@dataclass
class Stream:
    """The values of one batch between two blocks, in the real model and in the student."""

    real: Values
    quantized: Values

    @staticmethod
    def of(student: Student, batch: Batch) -> Stream:
        inputs: Values = dict(inputs_of(student, batch))
        return Stream(inputs, dict(inputs))

    def real_reads(self, segment: Segment) -> Values:
        return {name: self.real[name] for name in segment.reads}

    def quantized_reads(self, segment: Segment) -> Values:
        return {name: self.quantized[name] for name in segment.reads}

    def pair(self, segment: Segment, target: Values) -> Pair:
        return Pair(self.real_reads(segment), self.quantized_reads(segment), target)

    def advance(self, segment: Segment, real: Values, quantized: Values) -> None:
        """Take what the block wrote. Choices among places and sizes are the real model's in both."""
        for name in segment.last:
            del self.real[name], self.quantized[name]
        for name, value in real.items():
            self.real[name] = value
            self.quantized[name] = quantized[name] if is_compared(value) else value
