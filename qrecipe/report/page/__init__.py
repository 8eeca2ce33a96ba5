"""A run as one page for a browser: what a run folder keeps, turned into headline, charts and pictures."""
