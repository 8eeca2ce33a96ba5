"""Several runs together: planned by a sweep and carried out one after another, or at hand and compared."""
