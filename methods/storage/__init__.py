"""Fewer bits for the entries of the key/value cache."""
