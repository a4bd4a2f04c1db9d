"""A plan beside what is stored: what is new, what is reused, what retires, and why.

A trial is reused when a finished one has the same id, the hash of everything that can change its
numbers; whatever else the file says differently (names, paths, how a budget is written) does not
matter. The reason why a trial is new is what sets it apart from the stored trial that differs
least, those of the same sweep first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

from store.comparison.changes import Spec, axes_changed, conditions_changed
from store.comparison.nearest import Facets, Neighbours, label
from store.records import PlannedRow
from sweeps.collection import uncollected
from sweeps.trial import TrialSpec, TrialState

if TYPE_CHECKING:
    from store.repository import Store

Planned = tuple[str, str, TrialSpec]
"""Workload, keep label and spec."""
Key = tuple[str, str, str]
"""Workload, trial and keep label."""


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
    """A trial in a sweep's stored plan; made of a :data:`~store.records.PlannedRow`."""

    workload: str
    trial: str
    keep_label: str
    position: int
    """0-based place in the stored plan."""
    state: str | None
    """A :class:`~sweeps.trial.TrialState`, as the database has it."""


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
    """What becomes of the file's trials and of those that are stored.

    Most trials of a large plan are in the stored one as they are, and finished: they are counted,
    and spelt out only when asked for.
    """

    sweep: str
    stored: bool
    """Whether the store knows a sweep of this name."""
    trials: Sequence[Planned]
    changed: Mapping[int, Change]
    """What is to tell, by place in the file; the rest is reused as it is."""
    retired: Sequence[Change]

    @property
    def unchanged(self) -> int:
        """How many trials are reused as they are."""
        return len(self.trials) - len(self.changed)

    @property
    def why_unchanged(self) -> tuple[str, ...]:
        """Why those are reused."""
        return (_measured_by(self.sweep),)

    @cached_property
    def unchanged_methods(self) -> Counter[tuple[str, str]]:
        """How many of those each workload and method has."""
        return Counter(
            (workload, spec.method.id)
            for place, (workload, _, spec) in enumerate(self.trials)
            if place not in self.changed
        )

    @cached_property
    def changes(self) -> list[Change]:
        """The file's trials in the plan's order, then those that retire."""
        told = (
            self.changed.get(place) or _change(Fate.REUSED, planned, self.why_unchanged)
            for place, planned in enumerate(self.trials)
        )
        return [*told, *self.retired]

    def count(self, *fates: Fate) -> int:
        """How many trials have one of these fates."""
        told = sum(change.fate in fates for change in (*self.changed.values(), *self.retired))
        return told + self.unchanged * (Fate.REUSED in fates)


@uncollected()
def difference(store: Store, sweep: str, trials: Sequence[Planned]) -> Difference:
    """What running this plan would do, and why."""
    stored = store.planned_trials(sweep)
    places = {(w, spec.id, label): place for place, (w, label, spec) in enumerate(trials)}
    others = _settle(places, stored or [])
    told = list(places.values())
    comparison = _Comparison(store, sweep, trials, told, stored or [], others)
    changed = dict(zip(told, comparison.of_the_file(), strict=True))
    return Difference(sweep, stored is not None, trials, changed, list(comparison.retired()))


def _settle(places: dict[Key, int], stored: Iterable[PlannedRow]) -> list[StoredTrial]:
    """Take out the places of what is stored as it is planned, and finished; all other trials."""
    finished = TrialState.FINISHED.value
    others = (
        row for row in stored if row[4] != finished or places.pop(row[:3], None) is None
    )  # most are taken out, so that only what is left is made an object
    return [StoredTrial(*row) for row in others]


_UNFINISHED: Final[dict[str | None, tuple[Fate, tuple[str, ...]]]] = {
    None: (Fate.OPEN, ("planned before, not measured yet",)),
    TrialState.FAILED: (Fate.FAILED, ("failed before",)),
    TrialState.INFEASIBLE: (Fate.IMPOSSIBLE, ("found impossible when it ran",)),
}


class _Comparison:
    """``told`` are the places in the file of the trials that are not stored as they are."""

    def __init__(
        self,
        store: Store,
        sweep: str,
        file: Sequence[Planned],
        told: Sequence[int],
        stored: Sequence[PlannedRow],
        others: Sequence[StoredTrial],
    ) -> None:
        self._store, self._file = store, file
        self._by_itself = (_measured_by(sweep),)
        self._trials = [file[place] for place in told]
        self._stored = stored
        self._own = {each[:2]: each for each in others}
        planned = [(workload, spec.id) for workload, _, spec in self._trials]
        retired = [self._own[key] for key in self._own.keys() - planned]
        self._retired = _Retired(store, sorted(retired, key=lambda each: each.position))
        self._states: dict[str, str | None] = {each.trial: each.state for each in others}
        self._states |= store.states({trial for _, trial in planned} - self._states.keys())
        reused = [trial for _, trial in planned if self._is_finished(trial)]
        self._sweeps = store.planned_by(each for each in reused if each not in self._workloads)
        self._unknown = [spec for _, _, spec in self._trials if spec.id not in self._states]
        self._contents: dict[str, Spec] = {}

    def of_the_file(self) -> Iterator[Change]:
        """Every trial that is told of."""
        nearest = self._nearest_stored()
        for planned in self._trials:
            workload, keep_label, spec = planned
            if spec.id in self._states:
                fate, why = self._known(workload, spec.id)
                yield _change(fate, planned, why)
            elif spec.id in nearest:
                near, content = nearest[spec.id]
                why = _why_new(content, self._content(spec), keep_label)
                yield _change(Fate.NEW, planned, why, near)
            else:
                yield _change(Fate.NEW, planned, (f"task {spec.task.id} is new",))

    def _known(self, workload: str, trial: str) -> tuple[Fate, tuple[str, ...]]:
        if not self._is_finished(trial):
            return _UNFINISHED[self._states[trial]]
        own = self._own.get((workload, trial))
        if own is not None:
            return Fate.REUSED, (*self._by_itself, f"keep was written {own.keep_label}")
        if trial in self._workloads:
            renamed = f"there as workload {self._workloads[trial]}"
            return Fate.REUSED, (*self._by_itself, renamed)
        sweeps = self._sweeps.get(trial)
        by = _measured_by(*sweeps) if sweeps else "measured by an earlier plan"
        return Fate.REUSED, (by,)

    def retired(self) -> Iterator[Change]:
        """Every trial of the stored plan that the file no longer has."""
        successors = {Facets.of(spec): spec for spec in reversed(self._unknown)}
        for each in self._retired.trials:
            facets = self._retired.facets[each.trial]
            near = successors.get(facets) or self._in_the_file.nearest(facets)
            content = self._retired.contents[each.trial]
            why = _why_retired(content, self._content(near) if near else None, each)
            words = (facets.method, each.keep_label, facets.schedule, facets.seed)
            done, nearest = each.state == TrialState.FINISHED, near.id if near else None
            yield Change(Fate.RETIRED, each.workload, each.trial, *words, done, why, nearest)

    def _is_finished(self, trial: str) -> bool:
        return self._states.get(trial) == TrialState.FINISHED

    def _content(self, spec: TrialSpec) -> Spec:
        """As JSON, made once: what is new and what retires are compared with each other."""
        if spec.id not in self._contents:
            self._contents[spec.id] = spec.model_dump(mode="json")
        return self._contents[spec.id]

    @cached_property
    def _workloads(self) -> dict[str, str]:
        """By trial of the stored plan."""
        return {trial: workload for workload, trial, *_ in self._stored}

    @cached_property
    def _in_the_file(self) -> Neighbours[TrialSpec]:
        tasks = {facets.task for facets in self._retired.facets.values()}
        by_id = {spec.id: spec for _, _, spec in self._file if spec.task.id in tasks}
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
        self.facets = {trial: Facets.stored(content) for trial, content in self.contents.items()}

    @cached_property
    def by_facets(self) -> dict[Facets, str]:
        """Ids by what tells trials apart, of equals one that finished."""
        by_worth = sorted(self.trials, key=lambda each: each.state == TrialState.FINISHED)
        return {self.facets[each.trial]: each.trial for each in by_worth}


def _change(
    fate: Fate, planned: Planned, why: tuple[str, ...], nearest: str | None = None
) -> Change:
    """What becomes of a trial of the file."""
    workload, keep_label, spec = planned
    words = (spec.method.id, keep_label, label(spec.schedule), spec.seed)
    return Change(fate, workload, spec.id, *words, fate is Fate.REUSED, why, nearest)


def _measured_by(*sweeps: str) -> str:
    return f"measured by {', '.join(sweeps)}"


def _why_new(nearest: Spec, content: Spec, keep_label: str) -> tuple[str, ...]:
    axes = (
        f"{axis} {keep_label if axis == 'keep' else value} is new"
        for axis, value in axes_changed(nearest, content)
    )
    return (*axes, *conditions_changed(nearest, content))


def _why_retired(content: Spec, nearest: Spec | None, stored: StoredTrial) -> tuple[str, ...]:
    if nearest is None:
        return ("task is not there",)
    axes = (
        f"{axis} {stored.keep_label if axis == 'keep' else value} is gone"
        for axis, value in axes_changed(nearest, content)
    )
    return (*axes, *conditions_changed(content, nearest)) or ("the workload is gone",)
