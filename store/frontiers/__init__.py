"""Frontiers: exact ones, and how sure they are."""
