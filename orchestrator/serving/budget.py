"""Limits on measured numbers, and the nearest limits that something fits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Context

from store.releases.release import Configuration, Workload

_DIGITS = 4  # significant digits of a suggested limit


@dataclass(frozen=True)
class Budget:
    """Limits on measured numbers; a configuration fits if it meets all of them."""

    max_cost: Mapping[str, float] = field(default_factory=dict)
    """Largest allowed value by metric, above 0."""
    min_quality: float | None = None

    def fits(self, configuration: Configuration) -> bool:
        """Whether every limit is met; a cost that was not measured meets none."""
        return self.affords(configuration) and self.satisfied_by(configuration)

    def affords(self, configuration: Configuration) -> bool:
        """Whether every cost is within its limit."""
        costs = ((configuration.cost(metric), limit) for metric, limit in self.max_cost.items())
        return all(cost is not None and cost <= limit for cost, limit in costs)

    def satisfied_by(self, configuration: Configuration) -> bool:
        """Whether the quality is reached."""
        return self.min_quality is None or configuration.quality >= self.min_quality

    def __str__(self) -> str:
        limits = [f"{metric} <= {limit:.10g}" for metric, limit in self.max_cost.items()]
        if self.min_quality is not None:
            limits.append(f"quality >= {self.min_quality:.10g}")
        return " and ".join(limits)


def nearest(workload: Workload, candidates: Sequence[Configuration], budget: Budget) -> Budget:
    """A budget over the same numbers that one of ``candidates`` fits, where none fits ``budget``.

    It keeps the quality if any candidate has it, and raises the cost; of equal costs, the better
    candidate decides. Every candidate is the workload's and has the limited costs.
    """
    good = [c for c in candidates if budget.satisfied_by(c)]
    if good:
        near = min(good, key=lambda c: (_excess(c, budget.max_cost), -workload.merit(c), c.trial))
    else:
        affordable = [c for c in candidates if budget.affords(c)]
        near = max(affordable or candidates, key=workload.merit)
    return _budget_for(near, budget)


def cost_of(configuration: Configuration, metric: str) -> float:
    """A measured cost; infinite where there is none."""
    cost = configuration.cost(metric)
    return math.inf if cost is None else cost


def _excess(configuration: Configuration, limits: Mapping[str, float]) -> float:
    """The worst cost as a multiple of its limit."""
    return max(cost_of(configuration, metric) / limit for metric, limit in limits.items())


def _budget_for(configuration: Configuration, budget: Budget) -> Budget:
    """A budget over the same numbers that this configuration fits, in few digits."""
    limits = {}
    for metric, limit in budget.max_cost.items():
        limits[metric] = max(limit, _rounded(cost_of(configuration, metric), ROUND_CEILING))
    if budget.min_quality is None:
        return Budget(limits)
    return Budget(limits, min(budget.min_quality, _rounded(configuration.quality, ROUND_FLOOR)))


def _rounded(value: float, rounding: str) -> float:
    return float(Context(prec=_DIGITS, rounding=rounding).create_decimal(repr(value)))
