"""Measure a sweep beside whoever else does, and wait for what the others have still in hand.

No worker waits: where everything that is left is measured elsewhere, this driver has no cluster, or
gives back what it had on it.
"""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from dashboards.progress import Progress
from orchestrator.engine.events import EventKind, OnEvent, PoolEvent, PoolReport
from orchestrator.engine.interrupts import interrupts
from orchestrator.engine.leasing import LOOK_SECONDS, Leasing
from orchestrator.engine.reconciliation import Reconciliation
from orchestrator.search.searching import Searching
from store.questions.untimed import untimed
from store.repository import Store
from store.sql.leases import THE_TRIAL, Work
from sweeps.spec import SweepSpec
from sweeps.timing import TimingSpec
from sweeps.trial import Head, TrialResult, TrialSpec, TrialState

if TYPE_CHECKING:  # Ray takes seconds to import, and a sweep that is finished needs none
    from orchestrator.engine.crew import Resources


@dataclass(frozen=True)
class Outcome:
    """What a run has measured, and what others have measured for it meanwhile."""

    pool: PoolReport
    """Several pools as one; no workers where nothing was measured here."""
    adopted: int = 0
    """Trials of the plan that other drivers have finished meanwhile."""
    adopted_failures: int = 0


@dataclass
class Driver:
    """One run of a sweep, from its first trials to its last timing."""

    store: Store
    spec: SweepSpec
    search: Searching
    leases: Leasing
    found: Reconciliation
    address: str | None
    shown: Progress
    listener: OnEvent
    pool: Mapping[str, Any] = field(default_factory=dict)
    """What :func:`orchestrator.engine.pool.run_pool` is told besides."""
    _adopted: dict[str, TrialState] = field(default_factory=dict)

    def __post_init__(self) -> None:
        hours = self.spec.budget.max_hours or math.inf
        self._deadline = time.monotonic() + 3600 * hours
        self._lane = _Lane(self.store, self.spec.name, self.search, self.leases)

    def run(self, todo: Sequence[TrialSpec]) -> Outcome:
        """Everything that the search asks for, by whoever comes first to each trial."""
        report = PoolReport(workers=0)
        free = self.leases.free(todo)
        while not report.interrupted and time.monotonic() < self._deadline:
            if free or self._lane.trials():
                report += self._pools(free, self._deadline - time.monotonic())
            if report.interrupted:
                break
            free, report.interrupted = self._wait()
            if not free and not self._lane.trials():
                break
        adopted = Counter(self._adopted.values())
        return Outcome(report, adopted[TrialState.FINISHED], adopted[TrialState.FAILED])

    def _pools(self, todo: Sequence[TrialSpec], seconds: float) -> PoolReport:
        """A pool for every interpreter that the trials need."""
        self.shown.update(note="starting Ray")
        from orchestrator.cluster.connection import cluster
        from orchestrator.cluster.shares import staffing
        from orchestrator.engine.environments import by_interpreter
        from orchestrator.engine.pool import run_pool

        resources, deadline = self._resources(), time.monotonic() + seconds
        report = PoolReport(workers=0)
        measured = self._lane.trials()
        waiting = by_interpreter([*todo, *measured])
        with (
            redirect_stdout(sys.stderr),  # Ray reports deaths there, and results are to be read
            cluster(self.address),
            staffing(self.address, resources, self.spec.priority) as staffed,
        ):
            while waiting and not report.interrupted and time.monotonic() < deadline:
                python = next(iter(waiting))
                report += run_pool(
                    [trial for trial in waiting.pop(python) if trial not in measured],
                    self.store.url,
                    resources=resources,
                    staffing=staffed,
                    python=python,
                    timings=partial(self._lane.timings, python),
                    max_seconds=deadline - time.monotonic(),
                    on_event=self._note,
                    feed=_Here(self.search, self.leases, self._lane, python, waiting),
                    **self.pool,
                )
        return report

    def _resources(self) -> Resources:
        from orchestrator.engine.crew import Resources

        wanted = self.spec.resources
        workers = None if wanted.workers == "auto" else wanted.workers
        return Resources(cpus=wanted.cpus, gpus=wanted.gpus, workers=workers)

    def _note(self, event: PoolEvent) -> None:
        if event.trial_id is not None and event.kind is EventKind.STARTED:
            self.leases.begin(event.trial_id)
        if event.trial_id is not None and event.kind is EventKind.RECORDED:
            self.leases.settle(event.trial_id)
        self.listener(event)

    def _wait(self) -> tuple[list[TrialSpec], bool]:
        """Until there is something to run, or nobody has anything left; whether interrupted."""
        with interrupts() as interrupted:
            while not interrupted.is_set() and time.monotonic() < self._deadline:
                looked_at = time.monotonic()
                free = self._look()
                awaited = self._awaited()
                if free or not awaited:
                    return free, False
                who = self.leases.awaited(awaited)
                self.shown.update(note=f"waiting for {who}" if who else "waiting")
                took = time.monotonic() - looked_at
                interrupted.wait(max(LOOK_SECONDS, 4 * took))  # a look at 100,000 trials takes one
            return [], interrupted.is_set()

    def _look(self) -> list[TrialSpec]:
        """Adopt what others have measured; what there is to run now."""
        news = self.leases.look()
        self.found.take_over(news.dead, {spec.id for spec in news.ours})
        if news.dead.drivers:
            self.shown.say(f"took over from {', '.join(news.dead.drivers)}, gone without a word")
        asked: list[TrialSpec] = []
        for result in news.results:
            self._adopted[result.trial_id] = result.state
            self.listener(PoolEvent(EventKind.RECORDED, 0, result.trial_id, result))
            asked += self.search.after(result)
        return [*news.ours, *self.leases.free(asked)]

    def _awaited(self) -> set[Work]:
        if self.leases.waiting:
            return {(trial, THE_TRIAL) for trial in self.leases.waiting}
        return self._lane.elsewhere()


@dataclass
class _Lane:
    """What is to be timed, as the store has it when it is asked."""

    store: Store
    sweep: str
    search: Searching
    leases: Leasing
    tried: set[Work] = field(default_factory=set)
    """Timings that were taken, or failed, in this run."""

    def trials(self) -> list[TrialSpec]:
        """Trials that lack a timing which is nobody else's, each once."""
        found = dict.fromkeys(trial for trial, _ in self._missing())
        return [self.search.trials[trial].spec for trial in found]

    def timings(self, python: str | None) -> list[TimingSpec]:
        """Timings that are missing, of the trials that run under this interpreter."""
        from orchestrator.engine.environments import by_interpreter

        there = {trial.id: trial for trial in by_interpreter(self.trials()).get(python, ())}
        return [TimingSpec(there[each], at) for each, at in self._missing() if each in there]

    def claim(self, spec: TimingSpec) -> bool:
        """Whether the timing is ours to take from now on."""
        ours = self.leases.take_timing(spec)
        if ours:
            self.tried.add((spec.trial.id, spec.batch))
        return ours

    def elsewhere(self) -> set[Work]:
        """Timings that other drivers take."""
        return self.leases.elsewhere(self._open())

    def _missing(self) -> list[Work]:
        missing = self._open()
        elsewhere = self.leases.elsewhere(missing)
        return [each for each in missing if each not in elsewhere]

    def _open(self) -> list[Work]:
        """Not of trials that only another driver of the sweep knows: it times them itself."""
        missing = untimed(self.store, self.sweep)
        known = (each for each in missing if each[0] in self.search.trials)
        return [each for each in known if each not in self.tried]


class _Here:
    """What a search asks for that runs under one interpreter, and that no other driver runs.

    What needs another interpreter waits for its pool.
    """

    def __init__(
        self,
        search: Searching,
        leases: Leasing,
        lane: _Lane,
        python: str | None,
        waiting: dict[str | None, list[TrialSpec]],
    ) -> None:
        self._search, self._leases, self._lane = search, leases, lane
        self._python, self._waiting = python, waiting
        self.width = search.width

    def after(self, result: TrialResult) -> list[TrialSpec]:
        from orchestrator.engine.environments import by_interpreter

        asked = by_interpreter(self._search.after(result))
        here = asked.pop(self._python, [])
        for python, specs in asked.items():
            self._waiting.setdefault(python, []).extend(specs)
        return here

    def heads(self, specs: Sequence[TrialSpec]) -> Mapping[str, Head]:
        return self._search.heads(specs)

    def claim(self, specs: Sequence[TrialSpec]) -> Sequence[TrialSpec]:
        return self._leases.take(specs)

    def claim_timing(self, spec: TimingSpec) -> bool:
        return self._lane.claim(spec)

    def due(self, specs: Sequence[TrialSpec]) -> Sequence[TrialSpec]:
        return self._leases.still_ours(specs)
