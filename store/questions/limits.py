"""Bounds on what was measured, over configurations with all their seeds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from store.frontiers.bootstrap import Flags, Floats
from store.frontiers.frontier import check_metric, objective_values
from store.frontiers.paired import Paired
from sweeps.metrics import QUALITY


def measured(paired: Paired, metric: str) -> Floats:
    """A metric of every configuration [P]; NaN where it was not measured or is simulated.

    Raises ValueError for an unknown metric, naming the nearest.
    """
    check_metric(metric)
    if metric == QUALITY:
        return paired.means
    return objective_values(paired.configurations, {metric: "minimize"})[0][:, 0]


def within(paired: Paired, maximum: Mapping[str, float], minimum: Mapping[str, float]) -> Flags:
    """Which configurations [P] keep to all bounds, ends included; an unknown value keeps to none.

    Raises ValueError for an unknown metric, naming the nearest.
    """
    keeps = np.ones(len(paired.configurations), dtype=bool)
    for name, bound in maximum.items():
        keeps &= measured(paired, name) <= bound
    for name, bound in minimum.items():
        keeps &= measured(paired, name) >= bound
    return keeps


def excess(paired: Paired, maximum: Mapping[str, float], minimum: Mapping[str, float]) -> Floats:
    """By what share of a bound each configuration misses the worst one [P]; 0 within bounds."""
    worst = np.zeros(len(paired.configurations))
    for name, bound in maximum.items():
        worst = np.maximum(worst, (measured(paired, name) - bound) / (abs(bound) or 1.0))
    for name, bound in minimum.items():
        worst = np.maximum(worst, (bound - measured(paired, name)) / (abs(bound) or 1.0))
    return worst
