"""The built-in detector."""

from .detector import DemoDetector

__all__ = ["DemoDetector"]
