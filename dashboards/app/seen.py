"""What a model saw of one example under compression: plain data, made elsewhere, drawn here.

Whoever makes it runs the trial's method on the example (a ``Provenance``); nothing here imports a
model. Shapes: N tokens that arrived first, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """One image of an example, and how its tokens lie on it."""

    pixels_HW3: Pixels
    grid: tuple[int, int]
    """Rows and columns of tokens."""


@dataclass(frozen=True)
class Step:
    """What is left after one step of compression, token by token of those that arrived first."""

    name: str
    """Where: ``layer 3``, for example."""
    shares_N: Sequence[float]
    """Which share of the heads still holds the token, alone or in a mixture, in [0, 1]."""
    groups_N: Sequence[int] | None = None
    """Number of the token that each went into; -1 where it is in none. None where heads differ."""

    @property
    def num_out(self) -> int | None:
        """Tokens left; None where heads differ."""
        return None if self.groups_N is None else len(set(self.groups_N) - {-1})

    @property
    def kept(self) -> float:
        """Mean share of the tokens that are still held somewhere."""
        return float(np.mean(self.shares_N)) if len(self.shares_N) else 1.0


@dataclass(frozen=True)
class Seen:
    """One example under one configuration."""

    answer: dict[str, Any]
    """What the model made of it."""
    outcome: float
    pictures: Sequence[Picture] = ()
    words: Sequence[str] = ()
    """The prompt, token by token; the first N of them are those that steps are about."""
    inputs: dict[str, Any] = field(default_factory=dict)
    """What people can read of the example, the right answer included."""
    steps: Sequence[Step] = ()
    """None where the method keeps every token."""
    remark: str | None = None
    """What to know about it."""


Provenance = Callable[[str, int], Seen]
"""From a trial's id and an example's number. Raises ValueError where the trial cannot run here."""
