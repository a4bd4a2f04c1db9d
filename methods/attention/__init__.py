"""Sparse attention while decoding: the cache stays whole, each step reads a part of it."""
