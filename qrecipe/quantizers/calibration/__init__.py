"""First ranges from data: what is observed, and how ranges are chosen."""
