"""How people name a point: by the start of its trial's id, or as ``METHOD@KEEP``."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sweeps.keep import Keep, parse

MIN_PREFIX: Final = 4
"""Digits of a trial's id that name it."""


def is_named(
    name: str,
    method: str,
    keep_ratio: float,
    trials: Collection[str],
    keep_label: str | None = None,
) -> bool:
    """Whether a configuration with these ``trials``, one for each seed, is meant.

    ``KEEP`` is as a sweep writes it, ``4x`` or ``0.25``; tokens and bytes are known by their label.
    """
    named, at, keep = name.partition("@")
    if at:
        return named == method and (keep == keep_label or _ratio(keep) == f"{keep_ratio:g}")
    return len(name) >= MIN_PREFIX and any(trial.startswith(name) for trial in trials)


def _ratio(keep: str) -> str | None:
    try:
        written = parse(keep)
    except ValueError:
        return None
    if not isinstance(written, Keep) or written.unit != "ratio":
        return None
    return f"{written.amount:g}"
