"""The names that several rooms share."""

from __future__ import annotations

ADDED = ("constants", "dropouts", "fake_quantizers", "alignments")
"""Names under which parts are added to a captured model, now or by a pass."""
