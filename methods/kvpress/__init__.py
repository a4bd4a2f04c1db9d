"""Presses of NVIDIA/kvpress, run by kvpress itself in an environment of its own."""
