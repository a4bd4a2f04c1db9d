"""Sentences about names that do not exist; imports nothing heavy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def unknown(kind: str, value: str, choices: Iterable[str]) -> str:
    """One sentence for a name that does not exist: the value, the nearest name, the choices."""
    names = sorted(choices)
    near = nearest(value, names)
    hint = f"; did you mean {near!r}?" if near else ""
    return f"unknown {kind} {value!r}{hint} (choices: {', '.join(names)})"


def nearest(value: str, choices: Iterable[str]) -> str | None:
    """The choice that looks most like a name, upper and lower case alike; None if none does."""
    folded = {name.casefold(): name for name in choices}
    near = difflib.get_close_matches(value.casefold(), folded, n=1, cutoff=0.5)
    return folded[near[0]] if near else None
