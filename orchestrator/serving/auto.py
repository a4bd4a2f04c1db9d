"""Who leaves the choice to the server gets the best point that it can answer in time.

The rule, for requests without budget or name, of a tenant with a latency objective: of the points
that reach the tenant's quality floor, the best one whose answer is expected within
:data:`STAY` of the objective; where none is, the fastest. What an answer takes is the work that is
under way and the point's own seconds, see :mod:`orchestrator.serving.load`. A better point than the
last one is chosen only once its answer is expected within :data:`CLIMB` of the objective, or
nothing else is under way, so that answers do not flutter between two points.

What is left of the objective is for answers that take longer than expected: one in a hundred may.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from orchestrator.keys import UNPROMISED, ServiceLevel
from orchestrator.serving.budget import Budget
from orchestrator.serving.doors import CALLER, Caller
from orchestrator.serving.load import Load
from orchestrator.serving.router import Route, Router, Wish, best
from store.releases.release import Configuration, Workload

STAY: Final = 0.5
CLIMB: Final = 0.25


class Auto:
    """What a server knows of its load, and whom it promised what; shared by its releases."""

    def __init__(self, level: ServiceLevel = UNPROMISED, load: Load | None = None) -> None:
        self.level = level
        self.load = load or Load()
        self._last: dict[tuple[str, str], str] = {}

    def choose(self, workload: Workload, caller: Caller) -> Configuration:
        """Who answers a request that leaves it to us.

        Raises NothingFitsError where no point reaches the caller's floor.
        """
        level = caller.level.or_else(self.level)
        ranked = _acceptable(workload, level.min_quality)
        if level.latency_ms is None:
            return ranked[0]
        key = (caller.tenant, workload.name)
        chosen = self._in_time(ranked, level.latency_ms / 1000, self._last.get(key))
        self._last[key] = chosen.trial
        return chosen

    def _in_time(
        self, ranked: Sequence[Configuration], objective: float, last: str | None
    ) -> Configuration:
        backlog, is_better = self.load.backlog, any(c.trial == last for c in ranked)
        for configuration in ranked:
            is_better = is_better and configuration.trial != last
            expected = backlog + self.load.seconds(configuration.trial)
            share = CLIMB if is_better and backlog > 0 else STAY
            if expected <= share * objective:
                return configuration
        return min(ranked, key=lambda c: self.load.usual_seconds(c.trial))


class AutoRouter:
    """A release's router, with a walk along the frontier for those who leave the choice to it."""

    def __init__(self, router: Router, auto: Auto) -> None:
        self._router = router
        self._auto = auto

    def workloads(self, name: str | None = None) -> list[Workload]:
        """As the router's. Raises UnknownNameError."""
        return self._router.workloads(name)

    def route(self, wish: Wish) -> Route:
        """The configuration for a wish. Raises what the router raises."""
        route = self._router.route(wish)
        if not wish.is_free:
            return route
        return Route(route.workload, self._auto.choose(route.workload, CALLER.get()))


def _acceptable(workload: Workload, min_quality: float | None) -> list[Configuration]:
    """The points at or above a floor, best first; without one, all of them.

    A quality that is minimised knows no floor: where one is set, the best point answers. Raises
    NothingFitsError where no point reaches the floor.
    """
    chosen = best(workload, Budget())
    if min_quality is None:
        found = workload.configurations
    elif workload.minimises_quality:
        return [chosen]
    else:
        budget = Budget(min_quality=min_quality)
        best(workload, budget)
        found = tuple(c for c in workload.configurations if budget.fits(c))
    rest = sorted((c for c in found if c != chosen), key=lambda c: (-workload.merit(c), c.trial))
    return [chosen, *rest]
