"""A plan beside what is stored: what is new, what is reused, what retires, and why.

A trial is reused when a finished one has the same id, the hash of everything that can change its
numbers; whatever else the file says differently (names, paths, how a budget is written) does not
matter. The reason why a trial is new is what sets it apart from the stored trial that differs
least, those of the same sweep first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from store.comparison.changes import Spec, axes_changed, conditions_changed
from store.comparison.nearest import Facets, Neighbours, label
from sweeps.collection import uncollected
from sweeps.trial import TrialSpec, TrialState

if TYPE_CHECKING:
    from store.repository import Store

Planned = tuple[str, str, TrialSpec]
"""Workload, keep label and spec."""


class Fate(StrEnum):
    """What `paretoken run` does about a trial."""

    NEW = "new"
    """Never planned: it is measured."""
    OPEN = "open"
    """Planned before and not measured yet: it is measured."""
    FAILED = "failed"
    """Failed before: it is tried again."""
    IMPOSSIBLE = "impossible"
    """It turned out to be impossible before: it is left out."""
    REUSED = "reused"
    RETIRED = "retired"
    """In the sweep's stored plan and not in the file; its numbers stay in the store."""


class StoredTrial(NamedTuple):
    """A trial in a sweep's stored plan."""

    workload: str
    trial: str
    keep_label: str
    position: int
    """In the plan."""
    state: TrialState | None


class Change(NamedTuple):
    """One trial of the file, or of the stored plan alone, and what becomes of it."""

    fate: Fate
    workload: str
    trial: str
    method: str
    keep_label: str
    schedule: str
    seed: int
    finished: bool
    why: tuple[str, ...]
    nearest: str | None = None
    """The trial that it was compared with."""


@dataclass(frozen=True)
class Difference:
    """The file's trials in the plan's order, then those that retire."""

    sweep: str
    stored: bool
    """Whether the store knows a sweep of this name."""
    changes: list[Change]

    def count(self, *fates: Fate) -> int:
        """How many trials have one of these fates."""
        return sum(change.fate in fates for change in self.changes)


@uncollected()
def difference(store: Store, sweep: str, trials: Sequence[Planned]) -> Difference:
    """What running this plan would do, and why."""
    stored = store.planned_trials(sweep)
    comparison = _Comparison(store, sweep, trials, stored or [])
    return Difference(sweep, stored is not None, [*comparison.of_the_file(), *comparison.retired()])


_UNFINISHED: Final = {
    None: (Fate.OPEN, ("planned before, not measured yet",)),
    TrialState.FAILED: (Fate.FAILED, ("failed before",)),
    TrialState.INFEASIBLE: (Fate.IMPOSSIBLE, ("found impossible when it ran",)),
}


class _Comparison:
    def __init__(
        self, store: Store, sweep: str, trials: Sequence[Planned], stored: Sequence[StoredTrial]
    ) -> None:
        self._store, self._sweep, self._trials = store, sweep, trials
        self._by_itself = (f"measured by {sweep}",)
        self._own = {each[:2]: each for each in stored}
        self._workloads = {trial: workload for workload, trial in self._own}
        planned = [(workload, spec.id) for workload, _, spec in trials]
        retired = [self._own[key] for key in self._own.keys() - planned]
        self._retired = _Retired(store, sorted(retired, key=lambda each: each.position))
        elsewhere = {trial for _, trial in planned if trial not in self._workloads}
        self._states = {each.trial: each.state for each in stored} | store.states(elsewhere)
        reused = [each for each in elsewhere if self._is_finished(each)]
        self._sweeps = store.planned_by(reused)
        self._unknown = [spec for _, _, spec in trials if spec.id not in self._states]

    def of_the_file(self) -> Iterable[Change]:
        """Every trial of the file."""
        nearest = self._nearest_stored()
        schedules = {id(spec.schedule): label(spec.schedule) for spec in self._one_of_each}
        for workload, keep_label, spec in self._trials:
            trial, near = spec.id, None
            if trial in self._states:
                fate, why = self._known(workload, keep_label, trial)
            elif trial in nearest:
                near, content = nearest[trial]
                fate, why = Fate.NEW, _why_new(content, spec, keep_label)
            else:
                fate, why = Fate.NEW, (f"task {spec.task.id} is new",)
            schedule = schedules[id(spec.schedule)]
            words = (spec.method.id, keep_label, schedule, spec.seed, fate is Fate.REUSED)
            yield Change(fate, workload, trial, *words, why, near)

    def _known(self, workload: str, keep_label: str, trial: str) -> tuple[Fate, tuple[str, ...]]:
        state = self._states[trial]
        if state is not TrialState.FINISHED:
            return _UNFINISHED[state]
        own = self._own.get((workload, trial))
        if own is not None:
            if own.keep_label == keep_label:
                return Fate.REUSED, self._by_itself
            return Fate.REUSED, (*self._by_itself, f"keep was written {own.keep_label}")
        if trial in self._workloads:
            renamed = f"there as workload {self._workloads[trial]}"
            return Fate.REUSED, (*self._by_itself, renamed)
        sweeps = self._sweeps.get(trial)
        by = f"measured by {', '.join(sweeps)}" if sweeps else "measured by an earlier plan"
        return Fate.REUSED, (by,)

    def retired(self) -> Iterable[Change]:
        """Every trial of the stored plan that the file no longer has."""
        successors = {Facets.of(spec): spec for spec in reversed(self._unknown)}
        for each in self._retired.trials:
            spec = self._retired.specs[each.trial]
            facets = Facets.of(spec)
            near = successors.get(facets) or self._in_the_file.nearest(facets)
            content = self._retired.contents[each.trial]
            why = _why_retired(content, near, each) if near else ("task is not there",)
            words = (spec.method.id, each.keep_label, label(spec.schedule), spec.seed)
            done, nearest = each.state is TrialState.FINISHED, near.id if near else None
            yield Change(Fate.RETIRED, each.workload, each.trial, *words, done, why, nearest)

    def _is_finished(self, trial: str) -> bool:
        return self._states.get(trial) is TrialState.FINISHED

    @property
    def _one_of_each(self) -> Iterable[TrialSpec]:
        """A trial for each schedule object, of which 100,000 trials have a few."""
        return {id(spec.schedule): spec for _, _, spec in self._trials}.values()

    @cached_property
    def _in_the_file(self) -> Neighbours[TrialSpec]:
        tasks = {spec.task.id for spec in self._retired.specs.values()}
        by_id = {spec.id: spec for _, _, spec in self._trials if spec.task.id in tasks}
        return Neighbours([(Facets.of(spec), spec) for spec in by_id.values()])

    def _nearest_stored(self) -> dict[str, tuple[str, Spec]]:
        """For each unknown trial the id and content of the stored one that differs least.

        Of what 100,000 trials are about little is read where most new ones replace what retires.
        """
        replaced = self._retired.by_facets
        found = {spec.id: replaced.get(Facets.of(spec)) for spec in self._unknown}
        others = [spec for spec in self._unknown if found[spec.id] is None]
        if others:
            tasks = {spec.task.id for spec in others}
            there = Neighbours(self._own_first(self._store.trials_of(tasks)))
            found |= {spec.id: there.nearest(Facets.of(spec)) for spec in others}
        near = {trial: nearest for trial, nearest in found.items() if nearest is not None}
        known = self._retired.contents
        contents = known | self._store.specs(set(near.values()) - known.keys())
        return {trial: (nearest, contents[nearest]) for trial, nearest in near.items()}

    def _own_first(self, trials: list[tuple[Facets, str]]) -> list[tuple[Facets, str]]:
        return sorted(trials, key=lambda each: each[1] not in self._workloads)


class _Retired:
    """Trials of the stored plan that the file no longer has, in the plan's order."""

    def __init__(self, store: Store, trials: Sequence[StoredTrial]) -> None:
        self.trials = trials
        self.contents = store.specs(each.trial for each in trials)

    @cached_property
    def specs(self) -> dict[str, TrialSpec]:
        """What each of them ran."""
        return {trial: TrialSpec.model_validate(c) for trial, c in self.contents.items()}

    @cached_property
    def by_facets(self) -> dict[Facets, str]:
        """Ids by what tells trials apart, of equals one that finished."""
        by_worth = sorted(self.trials, key=lambda each: each.state is TrialState.FINISHED)
        return {Facets.of(self.specs[each.trial]): each.trial for each in by_worth}


def _why_new(nearest: Spec, spec: TrialSpec, keep_label: str) -> tuple[str, ...]:
    content = spec.model_dump(mode="json")
    axes = (
        f"{axis} {keep_label if axis == 'keep' else value} is new"
        for axis, value in axes_changed(nearest, content)
    )
    return (*axes, *conditions_changed(nearest, content))


def _why_retired(content: Any, nearest: TrialSpec, stored: StoredTrial) -> tuple[str, ...]:
    after = nearest.model_dump(mode="json")
    axes = (
        f"{axis} {stored.keep_label if axis == 'keep' else value} is gone"
        for axis, value in axes_changed(after, content)
    )
    return (*axes, *conditions_changed(content, after)) or ("the workload is gone",)
