"""Sentences about names that do not exist; imports nothing heavy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def unknown(kind: str, value: str, choices: Iterable[str]) -> str:
    """One sentence for a name that does not exist: the value, the nearest name, the choices."""
    names = sorted(choices)
    near = difflib.get_close_matches(value, names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown {kind} {value!r}{hint} (choices: {', '.join(names)})"
