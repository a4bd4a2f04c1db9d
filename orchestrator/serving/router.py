"""Which configuration answers a request: the best that the caller can pay for.

The rule, per workload, over the frontier's measured numbers:

- a named configuration is itself;
- with ``max_cost``, or with nothing: the best quality among those that fit;
- with ``min_quality`` alone: the cheapest that reaches it.

Ties in quality go to the cheaper configuration, ties in cost to the better one, the rest to the
smaller trial id, so that equal requests get equal configurations. *Cheap* is meant in the
workload's first minimised objective.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from methods.naming import unknown
from orchestrator.serving.budget import Budget, cost_of, nearest
from store.releases.release import COSTS, Configuration, Release, Workload


class UnknownNameError(ValueError):
    """A workload or configuration that is not served; the message names the nearest."""


class UnroutableError(ValueError):
    """A wish that makes no sense for this release; the message says why."""


class NothingFitsError(UnroutableError):
    """No configuration fits the budget; ``nearest`` is a budget that one fits."""

    def __init__(self, message: str, nearest_budget: Budget) -> None:
        super().__init__(message)
        self.nearest = nearest_budget


@dataclass(frozen=True)
class Wish:
    """What a request asks for, as written."""

    workload: str | None = None
    configuration: str | None = None
    max_cost: float | Mapping[str, float] | None = None
    min_quality: float | None = None

    @property
    def is_free(self) -> bool:
        """Whether the choice of a point is left to the server."""
        return self.configuration is None and self.max_cost is None and self.min_quality is None


@dataclass(frozen=True)
class Route:
    """Where a request goes."""

    workload: Workload
    configuration: Configuration


class Routing(Protocol):
    """Who says which configuration answers."""

    def workloads(self, name: str | None = None) -> list[Workload]:
        """All workloads, or the one of that name. Raises UnknownNameError."""
        ...

    def route(self, wish: Wish) -> Route:
        """The configuration for a wish. Raises as :meth:`Router.route`."""
        ...


class Router:
    """Chooses among the configurations of one release."""

    def __init__(self, release: Release) -> None:
        self._workloads = {workload.name: workload for workload in release.workloads}

    def workloads(self, name: str | None = None) -> list[Workload]:
        """All workloads, or the one of that name. Raises UnknownNameError."""
        if name is None:
            return list(self._workloads.values())
        if name not in self._workloads:
            raise UnknownNameError(unknown("workload", name, self._workloads))
        return [self._workloads[name]]

    def route(self, wish: Wish) -> Route:
        """The configuration for a wish.

        Raises UnknownNameError for names that are not served, NothingFitsError where no
        configuration fits, UnroutableError for a wish that contradicts itself.
        """
        candidates = self.workloads(wish.workload)
        if wish.configuration is not None:
            return _named(wish, wish.configuration, candidates)
        if len(candidates) > 1:
            names = ", ".join(sorted(self._workloads))
            raise UnroutableError(f"several workloads are served; name one (choices: {names})")
        return Route(candidates[0], best(candidates[0], _budget(wish, candidates[0])))


def best(workload: Workload, budget: Budget) -> Configuration:
    """The configuration that the rule names. Raises NothingFitsError."""
    fitting = [c for c in workload.configurations if budget.fits(c)]
    if not fitting:
        raise _nothing_fits(workload, budget)

    def quality_first(c: Configuration) -> tuple[float, float, str]:
        return -workload.merit(c), _price(workload, c), c.trial

    def price_first(c: Configuration) -> tuple[float, float, str]:
        return _price(workload, c), -workload.merit(c), c.trial

    only_quality = budget.min_quality is not None and not budget.max_cost
    return min(fitting, key=price_first if only_quality else quality_first)


def _named(wish: Wish, trial: str, workloads: Iterable[Workload]) -> Route:
    if wish.max_cost is not None or wish.min_quality is not None:
        raise UnroutableError("give either a configuration or a budget, not both")
    routes = {c.trial: Route(w, c) for w in reversed(list(workloads)) for c in w.configurations}
    if trial not in routes:
        raise UnknownNameError(unknown("configuration", trial, routes))
    return routes[trial]


def _budget(wish: Wish, workload: Workload) -> Budget:
    if wish.min_quality is not None and workload.minimises_quality:
        raise UnroutableError(
            f"workload {workload.name!r} minimises its quality; limit its cost with max_cost"
        )
    if wish.max_cost is None:
        return Budget(min_quality=wish.min_quality)
    if isinstance(wish.max_cost, Mapping):
        limits = dict(wish.max_cost)
    elif workload.first_cost is not None:
        limits = {workload.first_cost: wish.max_cost}
    else:
        raise UnroutableError(
            f"workload {workload.name!r} minimises nothing; write max_cost as {{metric: number}}"
        )
    for metric in limits:
        if metric not in COSTS:
            raise UnroutableError(unknown("cost", metric, COSTS))
    if not _measured(workload, limits):
        raise UnroutableError(
            f"{' and '.join(limits)} was not measured for workload {workload.name!r}"
        )
    return Budget(limits, wish.min_quality)


def _measured(workload: Workload, metrics: Iterable[str]) -> list[Configuration]:
    """Configurations for which all of these costs are known."""
    names = list(metrics)
    return [c for c in workload.configurations if all(c.cost(n) is not None for n in names)]


def _price(workload: Workload, configuration: Configuration) -> float:
    return 0.0 if workload.first_cost is None else cost_of(configuration, workload.first_cost)


def _nothing_fits(workload: Workload, budget: Budget) -> NothingFitsError:
    near = nearest(workload, _measured(workload, budget.max_cost), budget)
    return NothingFitsError(
        f"no configuration of workload {workload.name!r} has {budget}; "
        f"nearest possible budget: {near}",
        near,
    )
