"""Fewer bits for the model's matrices."""
