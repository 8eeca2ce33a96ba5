"""A run without a terminal: the workspace of a recipe, its detectors, its phases."""
