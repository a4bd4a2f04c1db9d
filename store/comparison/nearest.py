"""The stored trial that differs least from a planned one, found without comparing all with all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Generic, NamedTuple, TypeVar

from pydantic import TypeAdapter

from methods.schedule import Schedule
from store.serialization import to_json
from sweeps.trial import TrialSpec, canonical_json

T = TypeVar("T")
_SCHEDULE: Final[TypeAdapter[Schedule]] = TypeAdapter(Schedule)


class Facets(NamedTuple):
    """What people tell trials apart by, in the order in which a difference weighs most."""

    task: str
    backbone: str
    method: str
    schedule: str
    hyperparameters: str
    """Canonical JSON."""
    keep_ratio: float
    seed: int

    @classmethod
    def of(cls, spec: TrialSpec) -> Facets:
        """Those of a planned trial."""
        method = spec.method
        return cls(
            spec.task.id,
            spec.backbone.name,
            method.id,
            label(spec.schedule),
            method.canonical_params,
            spec.keep_ratio,
            spec.seed,
        )

    @classmethod
    def stored(cls, spec: Mapping[str, Any]) -> Facets:
        """Those of a stored trial, from its spec as JSON."""
        method = spec["method"]
        return cls(
            spec["task"]["id"],
            spec["backbone"]["name"],
            method["id"],
            stored_label(to_json(spec["schedule"])),
            canonical_json(method["params"]),
            spec["keep_ratio"],
            spec["seed"],
        )


HYPERPARAMETERS = Facets._fields.index("hyperparameters")


class Neighbours(Generic[T]):
    """Trials to compare with, the preferred ones first."""

    def __init__(self, trials: Sequence[tuple[Facets, T]]) -> None:
        self._trials = trials
        self._root = _Node(trials, range(len(trials)))
        self._but_one: dict[int, dict[tuple[object, ...], T]] = {}

    def nearest(self, facets: Facets) -> T | None:
        """The first trial of the same task that shares most; None if there is none.

        Looked for are trials that share all facets, then all but one, the lightest first. Where
        more differs, the trials that share a facet are kept, facet by facet, or all if none does.
        """
        for index in range(len(facets), 0, -1):
            found = self._all_but(index).get(_without(facets, index))
            if found is not None and index != HYPERPARAMETERS:
                return found
            if found is not None:
                break  # of hyperparameters the most similar
        return self._step_by_step(facets)

    def _all_but(self, index: int) -> dict[tuple[object, ...], T]:
        if index not in self._but_one:
            known: dict[tuple[object, ...], T] = {}
            for facets, trial in self._trials:
                known.setdefault(_without(facets, index), trial)
            self._but_one[index] = known
        return self._but_one[index]

    def _step_by_step(self, facets: Facets) -> T | None:
        node = self._root.parts(0).get(facets[0])
        if node is None:
            return None
        for index in range(1, len(facets)):
            node = node.narrowed(index, facets[index])
        return self._trials[node.members[0]][1]


def _without(facets: Facets, index: int) -> tuple[object, ...]:
    """All facets but one; all of them for the index behind the last."""
    return facets[:index] + facets[index + 1 :]


class _Node:
    """Trials that share some facets."""

    def __init__(self, trials: Sequence[tuple[Facets, T]], members: Sequence[int]) -> None:
        self._trials = trials
        self.members = members
        self._parts: dict[int, dict[object, _Node]] = {}
        self._similar: dict[str, _Node] = {}

    def parts(self, index: int) -> dict[object, _Node]:
        """The trials by one facet."""
        if index not in self._parts:
            groups: dict[object, list[int]] = {}
            for member in self.members:
                groups.setdefault(self._trials[member][0][index], []).append(member)
            one = len(groups) == 1
            self._parts[index] = {
                value: self if one else _Node(self._trials, group)
                for value, group in groups.items()
            }
        return self._parts[index]

    def narrowed(self, index: int, value: object) -> _Node:
        """Those that share a facet; of hyperparameters the most similar, else all."""
        found = self.parts(index).get(value)
        if found is None and index == HYPERPARAMETERS:
            return self._most_similar(str(value))
        return self if found is None else found

    def _most_similar(self, wanted: str) -> _Node:
        if wanted not in self._similar:
            parts = self.parts(HYPERPARAMETERS)
            best = max(parts, key=lambda each: _shared(str(each), wanted))
            self._similar[wanted] = parts[best]
        return self._similar[wanted]


def _shared(one: str, other: str) -> int:
    """How many hyperparameters two methods have in common."""
    return len(_items(one) & _items(other))


@lru_cache(maxsize=4096)
def _items(text: str) -> frozenset[tuple[str, str]]:
    return frozenset((name, json.dumps(value)) for name, value in json.loads(text).items())


@lru_cache(maxsize=4096)
def label(schedule: Schedule) -> str:
    """What tables call a schedule, made once: 100,000 trials have a few."""
    return schedule.label


@lru_cache(maxsize=4096)
def stored_label(schedule: str) -> str:
    """The same of a schedule as JSON."""
    return _SCHEDULE.validate_json(schedule).label


@lru_cache(maxsize=4096)
def canonical(text: str) -> str:
    """A JSON text with sorted keys."""
    return canonical_json(json.loads(text))
