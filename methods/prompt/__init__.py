"""Fewer tokens for the language model to read."""
