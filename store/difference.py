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
from typing import TYPE_CHECKING, Any, NamedTuple

from store.changes import Spec, axes_changed, conditions_changed
from store.nearest import Facets, Neighbours, label
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
    planned = {(workload, spec.id) for workload, _, spec in trials}
    comparison = _Comparison(store, sweep, trials, stored or [])
    changes = [*comparison.of_the_file()]
    retired = [each for each in stored or [] if (each.workload, each.trial) not in planned]
    changes += comparison.retired(sorted(retired, key=lambda each: each.position))
    return Difference(sweep, stored is not None, changes)


class _Comparison:
    def __init__(
        self, store: Store, sweep: str, trials: Sequence[Planned], stored: Sequence[StoredTrial]
    ) -> None:
        self._store, self._sweep, self._trials, self._stored = store, sweep, trials, stored
        self._by_itself = (f"measured by {sweep}",)
        self._own = {(each.workload, each.trial): each for each in stored}
        self._workloads = {each.trial: each.workload for each in stored}
        self._states = {each.trial: each.state for each in stored}
        elsewhere = {spec.id for _, _, spec in trials} - self._states.keys()
        self._states |= store.states(elsewhere)
        reused = [each for each in elsewhere if self._is_finished(each)]
        self._sweeps = store.planned_by(reused)

    def of_the_file(self) -> Iterable[Change]:
        """Every trial of the file."""
        unknown = [spec for _, _, spec in self._trials if spec.id not in self._states]
        nearest = self._nearest_stored(unknown)
        for workload, keep_label, spec in self._trials:
            fate, near = Fate.NEW, None
            why: tuple[str, ...] = (f"task {spec.task.id} is new",)
            if spec.id in self._states:
                fate, why = self._known(workload, keep_label, spec.id)
            elif spec.id in nearest:
                near, content = nearest[spec.id]
                why = _why_new(content, spec, keep_label)
            words = (spec.method.id, keep_label, label(spec.schedule), spec.seed)
            done = fate is Fate.REUSED
            yield Change(fate, workload, spec.id, *words, done, why, near)

    def _known(self, workload: str, keep_label: str, trial: str) -> tuple[Fate, tuple[str, ...]]:
        if not self._is_finished(trial):
            if self._states[trial] is TrialState.FAILED:
                return Fate.FAILED, ("failed before",)
            return Fate.OPEN, ("planned before, not measured yet",)
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

    def retired(self, retired: Sequence[StoredTrial]) -> Iterable[Change]:
        """Every trial of the stored plan that the file no longer has."""
        if not retired:
            return
        contents = self._store.specs(each.trial for each in retired)
        specs = {trial: TrialSpec.model_validate(content) for trial, content in contents.items()}
        tasks = {spec.task.id for spec in specs.values()}
        by_id = {spec.id: spec for _, _, spec in self._trials if spec.task.id in tasks}
        there = Neighbours([(Facets.of(spec), spec) for spec in by_id.values()])
        for each in retired:
            spec = specs[each.trial]
            near = there.nearest(Facets.of(spec))
            why = _why_retired(contents[each.trial], near, each) if near else ("task is not there",)
            words = (spec.method.id, each.keep_label, label(spec.schedule), spec.seed)
            done, nearest = each.state is TrialState.FINISHED, near.id if near else None
            yield Change(Fate.RETIRED, each.workload, each.trial, *words, done, why, nearest)

    def _is_finished(self, trial: str) -> bool:
        return self._states.get(trial) is TrialState.FINISHED

    def _nearest_stored(self, specs: Sequence[TrialSpec]) -> dict[str, tuple[str, Spec]]:
        """For each spec the id and content of the stored trial that differs least."""
        if not specs:
            return {}
        there = Neighbours(self._own_first(self._store.trials_of({s.task.id for s in specs})))
        found = {spec.id: there.nearest(Facets.of(spec)) for spec in specs}
        near = {trial: nearest for trial, nearest in found.items() if nearest is not None}
        contents = self._store.specs(near.values())
        return {trial: (nearest, contents[nearest]) for trial, nearest in near.items()}

    def _own_first(self, trials: list[tuple[Facets, str]]) -> list[tuple[Facets, str]]:
        own = {each.trial for each in self._stored}
        return sorted(trials, key=lambda each: each[1] not in own)


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
