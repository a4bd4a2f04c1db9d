"""Whether two answers say the same."""

from __future__ import annotations

import math
from typing import Any

from pydantic import JsonValue

_TOLERANCE = 1e-3
"""Between numbers that kernels round differently for batches of other sizes."""


def equal(one: JsonValue, other: JsonValue) -> bool:
    """The same, up to the rounding of numbers that are not whole."""
    match one, other:
        case dict(), dict():
            return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
        case list(), list():
            return len(one) == len(other) and all(map(equal, one, other))
        case float(), float():
            return math.isclose(one, other, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    return one == other


def decision(answer: Any) -> Any:
    """What an answer decides, without the numbers that say how sure it is: floats are left out.

    None where nothing is left.
    """
    match answer:
        case dict():
            kept = {key: decision(value) for key, value in answer.items()}
            return {key: value for key, value in kept.items() if value is not None} or None
        case list():
            return [part for value in answer if (part := decision(value)) is not None] or None
        case float():
            return None
    return answer
