"""Hyperparameters that are sizes of kernels, which are laid around every token."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator


def _odd(size: int) -> int:
    if size % 2 == 0:
        raise ValueError(f"must be odd, so that a kernel has a centre, not {size}")
    return size


KernelSize = Annotated[int, AfterValidator(_odd)]
"""Tokens that a kernel covers: as many before its centre as behind it."""
