"""Whether the compression that was asked for happened, pass by pass."""

from __future__ import annotations

from collections.abc import Sequence

from methods.backbones.base import VacuousCompressionError


class Effect:
    """Counts passes, and those in which nothing happened although ``held`` asks for less than 1."""

    def __init__(self, held: Sequence[float]) -> None:
        self.least = min(held)
        self.passes = self.without = 0

    def saw(self, happened: bool) -> None:
        """One more pass is over."""
        self.passes += 1
        self.without += self.least < 1 and not happened

    def require(self, otherwise: str) -> None:
        """Raise VacuousCompressionError if a pass did without; ``otherwise`` is what it did."""
        if self.without:
            raise VacuousCompressionError(
                f"{self.without} of {self.passes} {otherwise}, although the schedule asks for "
                f"{self.least:.4g} of them"
            )
