"""Generators of the reference tasks' data: NumPy only, the same bits in any process."""
