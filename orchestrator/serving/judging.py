"""Whether a canary may take over: rates with limits, each with its interval.

A limit is broken once even the favourable end of the rate's interval is beyond it, so that a few
unlucky requests condemn nobody. The interval (Wilson 1927) has 99.9 % confidence, not 95 %: it is
looked at again after every few requests.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy.stats import binomtest

from orchestrator.serving.tally import Tally
from store.releases.line import Terms

CONFIDENCE: Final = 0.999
TAIL: Final = 0.05
"""Of the requests that may be slow: what is slow is defined by the other release's 95th
percentile."""
LEAST: Final = 20
"""Requests of either release before their latencies are compared."""


@dataclass(frozen=True)
class Rate:
    """How often something happened, and how often it may."""

    name: str
    hits: int
    total: int
    limit: float

    @property
    def interval(self) -> tuple[float, float]:
        """Where the true rate lies."""
        if not self.total:
            return 0.0, 1.0
        found = binomtest(self.hits, self.total).proportion_ci(CONFIDENCE, method="wilson")
        return float(found.low), float(found.high)

    @property
    def broken(self) -> bool:
        """Whether it happens too often, beyond doubt."""
        return self.interval[0] > self.limit

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"{self.name}: {self.hits} of {self.total} [{low:.1%}, {high:.1%}], "
            f"limit {self.limit:.1%}"
        )


@dataclass(frozen=True)
class Verdict:
    """A canary's end."""

    takes_over: bool
    why: str
    evidence: dict[str, Any]


def verdict(canary: Tally, active: Tally, terms: Terms) -> Verdict | None:
    """What becomes of a canary; None where more has to be seen."""
    rates = list(_rates(canary, active, terms))
    evidence = {rate.name: str(rate) for rate in rates}
    broken = [str(rate) for rate in rates if rate.broken]
    if broken:
        return Verdict(False, "; ".join(broken), evidence)
    if canary.requests >= terms.requests:
        why = f"{canary.requests} requests without a broken limit"
        return Verdict(True, why, evidence)
    return None


def _rates(canary: Tally, active: Tally, terms: Terms) -> Iterator[Rate]:
    yield Rate("errors", canary.errors, canary.requests, terms.max_errors)
    if min(len(canary.seconds), len(active.seconds)) >= LEAST:
        slow = terms.max_slowdown * float(np.quantile(active.seconds, 1 - TAIL))
        hits = sum(seconds > slow for seconds in canary.seconds)
        yield Rate(f"slower than {slow:.3g} s", hits, len(canary.seconds), TAIL)
    if canary.compared:
        limit = canary.tolerated / canary.compared
        yield Rate("other answers", canary.disagreements, canary.compared, limit)
