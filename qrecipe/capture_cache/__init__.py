"""Captures kept on disk between commands, under a checksum of everything that they depend on."""

from .kept import KeptCapture

__all__ = ["KeptCapture"]
