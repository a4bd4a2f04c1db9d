"""Questions to a sweep and their answers, as plain data."""
