"""Training: the loop, its optimizer and schedule, and what it tells."""
