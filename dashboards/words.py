"""Numbers and lists as people read them, the same in every table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_BINARY: Final = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))
_MOST: Final = 3


def decimals(value: float | None) -> str:
    """Three decimals below a thousand; nothing for what was not measured."""
    if value is None:
        return ""
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:,.0f}"


def size(num_bytes: float | None) -> str:
    """Bytes in three digits, by powers of 1024; nothing for what was not measured."""
    if num_bytes is None:
        return ""
    step, unit = next((each for each in _BINARY if 1.024 * abs(num_bytes) >= each[0]), (1, "B"))
    return f"{num_bytes / step:.3g} {unit}"


def some(names: Iterable[str]) -> str:
    """Up to three names, and how many more there are."""
    listed = list(names)
    more = len(listed) - _MOST
    return ", ".join(listed[:_MOST]) + (f" and {more} more" if more > 0 else "")
