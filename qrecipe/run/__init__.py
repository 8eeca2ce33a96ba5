"""The run folder: what a run writes, and how it goes on after a kill."""
