"""Fewer forward passes for each new token; the answers stay what they were."""
