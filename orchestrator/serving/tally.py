"""What a server saw of a release; plain data that travels from the ingress to the judge."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

KEPT: Final = 10_000
"""Latencies that are remembered."""


@dataclass
class Tally:
    """What was seen of one release."""

    requests: int = 0
    errors: int = 0
    """Answers with 5xx, streams that broke off, and silence."""
    seconds: list[float] = field(default_factory=list)
    """Of the requests that were answered."""
    compared: int = 0
    """Requests that the release it would replace answered as well."""
    disagreements: int = 0
    tolerated: float = 0.0
    """Summed over these, the probability to disagree that the measured qualities explain: two that
    are right with probabilities p and q disagree with at most (1 - p) + (1 - q)."""

    def add(self, other: Tally) -> None:
        """What somebody else has seen."""
        self.requests += other.requests
        self.errors += other.errors
        self.seconds = (self.seconds + other.seconds)[-KEPT:]
        self.compared += other.compared
        self.disagreements += other.disagreements
        self.tolerated += other.tolerated
