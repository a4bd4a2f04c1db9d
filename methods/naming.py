"""Names and numbers of things as people read them, and sentences about names that do not exist.

Imports nothing heavy.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Final

_SHORT: Final = 8


def unknown(kind: str, value: str, choices: Iterable[str]) -> str:
    """One sentence for a name that does not exist: the value, the nearest name, the choices."""
    names = sorted(choices)
    near = nearest(value, names)
    hint = f"; did you mean {near!r}?" if near else ""
    return f"unknown {kind} {value!r}{hint} (choices: {', '.join(names) or 'none'})"


def nearest(value: str, choices: Iterable[str]) -> str | None:
    """The choice that looks most like a name, upper and lower case alike; None if none does."""
    folded = {name.casefold(): name for name in choices}
    near = difflib.get_close_matches(value.casefold(), folded, n=1, cutoff=0.5)
    return folded[near[0]] if near else None


def settings(values: Mapping[str, Any]) -> str:
    """``key=value, ...``."""
    return ", ".join(f"{key}={value}" for key, value in values.items())


def called(name: str, values: Mapping[str, Any]) -> str:
    """``name(key=value, ...)``, or the bare name without any value."""
    return f"{name}({settings(values)})" if values else name


def short(identity: str) -> str:
    """The first eight digits of a hash, which tell the trials of a sweep apart."""
    return identity[:_SHORT]


def counted(count: int, noun: str) -> str:
    """A number of things: ``1 trial``, ``2 trials``; the noun's plural ends in s."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
