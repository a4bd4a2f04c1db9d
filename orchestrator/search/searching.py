"""What a sweep's search is to the one who runs it: a grid, a race or suggestions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from orchestrator.search.racing import RaceFeed
from orchestrator.search.tuning import TuneFeed
from store.repository import Store
from sweeps import rungs
from sweeps.plan import Impossible, Plan, PlannedTrial
from sweeps.search import Race, Tune
from sweeps.spec import SweepSpec
from sweeps.trial import Head, TrialResult, TrialSpec


class Searching(Protocol):
    """A feed of the pool that also tells how far it is. Counts are trials."""

    @property
    def width(self) -> int:
        """As in :class:`orchestrator.engine.feed.Feed`."""
        ...

    @property
    def trials(self) -> Mapping[str, PlannedTrial]:
        """By id, every trial that may be asked for."""
        ...

    @property
    def impossible(self) -> Sequence[Impossible]:
        """Combinations that cannot run."""
        ...

    @property
    def planned(self) -> int:
        """Asked for so far, measured before or not."""
        ...

    @property
    def reused(self) -> int:
        """Those of them that were measured before."""
        ...

    @property
    def notes(self) -> Mapping[str, Any]:
        """What whoever reads the sweep later has to know besides its file."""
        ...

    def first_plan(self) -> Sequence[PlannedTrial]:
        """What the sweep begins with."""
        ...

    def begin(self) -> Sequence[TrialSpec]:
        """What has to be measured first; the sweep is known to the store by then."""
        ...

    def after(self, result: TrialResult) -> Sequence[TrialSpec]:
        """As in :class:`orchestrator.engine.feed.Feed`."""
        ...

    def heads(self, specs: Sequence[TrialSpec]) -> Mapping[str, Head]:
        """As in :class:`orchestrator.engine.feed.Feed`."""
        ...


class GridSearch:
    """A grid: every trial of the plan, all asked for at once."""

    width = 0
    notes: Mapping[str, Any] = {}

    def __init__(self, store: Store, planned: Plan) -> None:
        self._plan = planned
        self.impossible = planned.impossible
        self.trials = {trial.spec.id: trial for trial in planned.trials}
        self._finished = store.finished(self.trials)
        self._settled = self._finished | store.infeasible(self.trials)
        self.planned, self.reused = len(self.trials), len(self._finished)

    def first_plan(self) -> Sequence[PlannedTrial]:
        """Every trial of the file, measured before or not."""
        return self._plan.trials

    def begin(self) -> Sequence[TrialSpec]:
        """What the store does not have, less what turned out to be impossible before."""
        return [t.spec for id_, t in self.trials.items() if id_ not in self._settled]

    def after(self, result: TrialResult) -> Sequence[TrialSpec]:  # noqa: ARG002 - nothing follows
        """No further trials follow from a result."""
        return ()

    def heads(self, specs: Sequence[TrialSpec]) -> Mapping[str, Head]:  # noqa: ARG002
        """None: every trial is whole."""
        return {}


def searching(store: Store, spec: SweepSpec, planned: Plan) -> Searching:
    """How the sweep's file wants it."""
    if isinstance(spec.search, Race):
        runnable = rungs.runnable(planned, spec.objectives_by_workload)
        return RaceFeed(store, spec, spec.search, runnable)
    if isinstance(spec.search, Tune):
        return TuneFeed(store, spec, spec.search)
    return GridSearch(store, planned)
