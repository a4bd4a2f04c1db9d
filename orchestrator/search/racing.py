"""A race on warm workers: asks for the trials of the next rung once those of this one are durable.

All decisions are :func:`store.races.racing.run`'s, over what the store holds, workload by workload.
This class only knows which trial is whose rung; killed anywhere and started again it finds the
finished trials in the store and asks for the same ones next.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from store.frontiers.frontier import Objectives
from store.races import racing
from store.races.racing import Configuration, Rules, Runner
from store.records import Point
from store.repository import Store
from store.serialization import ExampleOutcomes, to_json
from sweeps import rungs
from sweeps.plan import Plan, PlannedTrial
from sweeps.search import Race
from sweeps.spec import SweepSpec
from sweeps.trial import Head, TrialResult, TrialSpec, TrialState


@dataclass(frozen=True)
class Rung:
    """One configuration with one seed, over some of the examples."""

    trial: PlannedTrial
    configuration: Configuration
    examples: int


@dataclass
class Track:
    """The race of one workload."""

    workload: str
    sizes: tuple[int, ...]
    objectives: Objectives
    runners: dict[Configuration, Runner] = field(default_factory=dict)
    ladder: dict[tuple[Configuration, int, int], Rung] = field(default_factory=dict)
    """By configuration, seed and examples."""
    waiting: set[str] = field(default_factory=set)
    """Trials without which nothing can be decided."""

    def add(self, trial: PlannedTrial) -> None:
        """One more configuration, or one more seed of it."""
        name = configuration(trial.spec)
        self.runners.setdefault(name, Runner(name))
        for examples in self.sizes:
            short = trial._replace(spec=rungs.shortened(trial.spec, examples))
            self.ladder[name, trial.spec.seed, examples] = Rung(short, name, examples)

    def close(self) -> None:
        """Do not wait for seeds that a configuration does not have."""
        for name, runner in self.runners.items():
            runner.lost |= {s for s in self.seeds if (name, s, self.sizes[0]) not in self.ladder}

    @property
    def seeds(self) -> list[int]:
        """All seeds of the workload."""
        return sorted({seed for _, seed, _ in self.ladder})


class RaceFeed:
    """Races over all workloads of a sweep, on one pool."""

    def __init__(self, store: Store, spec: SweepSpec, search: Race, planned: Plan) -> None:
        self._store, self._sweep = store, spec.name
        self._rules = Rules(search.epsilon, search.confidence, search.random_seed)
        self.tracks: dict[str, Track] = {}
        for trial in planned.trials:
            track = self.tracks.get(trial.workload)
            if track is None:
                objectives = spec.axes(trial.workload).objectives
                track = Track(trial.workload, rungs.sizes(trial.spec, search), objectives)
                self.tracks[trial.workload] = track
            track.add(trial)
        for track in self.tracks.values():
            track.close()
        self._places: dict[str, list[tuple[Track, Rung]]] = {}
        for track in self.tracks.values():
            for rung in track.ladder.values():
                self._places.setdefault(rung.trial.spec.id, []).append((track, rung))
        self._heads: dict[str, Head] = {}
        self._outcomes: dict[str, ExampleOutcomes] = {}
        self.impossible = planned.impossible
        self._asked: set[str] = set()
        self._handed_out: set[str] = set()
        self._reused = self._store.finished(self._places)

    @property
    def width(self) -> int:
        """Trials of the first rung, which may all run at once."""
        return sum(len(track.runners) * len(track.seeds) for track in self.tracks.values())

    @cached_property
    def trials(self) -> dict[str, PlannedTrial]:
        """Every trial that the race may ask for."""
        return {trial_id: places[0][1].trial for trial_id, places in self._places.items()}

    @property
    def planned(self) -> int:
        """Trials that the race needed so far, measured before or not."""
        return len(self._asked | self._reused)

    @property
    def reused(self) -> int:
        """Trials of the race that were measured before."""
        return len(self._reused)

    @property
    def notes(self) -> dict[str, Any]:
        """Examples at every rung of each workload."""
        return {"examples": {name: list(track.sizes) for name, track in self.tracks.items()}}

    def first_plan(self) -> list[PlannedTrial]:
        """Everybody's shortest trial, and what is finished already."""
        return [
            rung.trial
            for track in self.tracks.values()
            for (name, seed, examples), rung in track.ladder.items()
            if rung.trial.spec.id in self._reused
            or (examples == track.sizes[0] and not self._has_any(track, name, seed))
        ]

    def begin(self) -> list[TrialSpec]:
        """What has to be measured first, once the sweep is known to the store."""
        finished = [place for trial in sorted(self._reused) for place in self._places[trial]]
        self._supersede(finished)
        self._read(self._reused)
        return [spec for track in self.tracks.values() for spec in self._advance(track)]

    def after(self, result: TrialResult) -> list[TrialSpec]:
        """The next rung, if this was the last result that the workload waited for."""
        if result.state is TrialState.FINISHED:
            self._read([result.trial_id])
        asked: list[TrialSpec] = []
        for track, rung in self._places.get(result.trial_id, ()):
            if result.state is not TrialState.FINISHED:
                track.runners[rung.configuration].lost.add(rung.trial.spec.seed)
            if result.trial_id in track.waiting:
                track.waiting.remove(result.trial_id)
                asked += [] if track.waiting else self._advance(track)
        return asked

    def heads(self, specs: Sequence[TrialSpec]) -> Mapping[str, Head]:
        """The longest shorter trial of each."""
        found = {}
        for spec in specs:
            track, rung = self._places[spec.id][0]
            points = track.runners[rung.configuration].points.get(spec.seed, [])
            shorter = [p for p in points if (p.metrics["num_examples"] or 0) < rung.examples]
            if shorter:
                longest = max(shorter, key=lambda point: point.metrics["num_examples"] or 0)
                found[spec.id] = self._head(longest.trial)
        return found

    def _has_any(self, track: Track, name: Configuration, seed: int) -> bool:
        return any(
            track.ladder[name, seed, examples].trial.spec.id in self._reused
            for examples in track.sizes
        )

    def _advance(self, track: Track) -> list[TrialSpec]:
        """Decide as far as the trials reach; what nobody was asked to measure for it yet."""
        missing = self._missing(track)
        while known := missing.keys() & self._outcomes.keys():  # measured for another workload
            self._read(known)
            missing = self._missing(track)
        new = missing.keys() - self._handed_out
        self._handed_out |= new
        return [rung.trial.spec for trial, rung in missing.items() if trial in new]

    def _missing(self, track: Track) -> dict[str, Rung]:
        """By id, what the next decision needs; in the plan from now on."""
        race = racing.run(
            list(track.runners.values()),
            track.seeds,
            track.sizes,
            track.objectives,
            self._outcomes,
            self._rules,
        )
        self._asked |= {
            point.trial
            for runner in track.runners.values()
            for points in runner.points.values()
            for point in points
        }
        missing = {
            rung.trial.spec.id: rung
            for name, seed in race.waiting
            if (rung := track.ladder.get((name, seed, race.examples))) is not None
        }
        track.waiting = set(missing)
        self._asked |= track.waiting
        new = [(track.workload, r.trial.keep_label, r.trial.spec) for r in missing.values()]
        shorter = [(track, rung) for rung in missing.values()]
        if new:
            self._store.extend_sweep(self._sweep, new, list(self._shorter(shorter)))
        return missing

    def _supersede(self, places: Sequence[tuple[Track, Rung]]) -> None:
        self._store.extend_sweep(self._sweep, [], list(self._shorter(places)))

    def _shorter(self, places: Sequence[tuple[Track, Rung]]) -> Iterator[tuple[str, str]]:
        """Workload and id of the trials over fewer examples than these."""
        for track, rung in places:
            for examples in track.sizes:
                if examples < rung.examples:
                    key = (rung.configuration, rung.trial.spec.seed, examples)
                    yield track.workload, track.ladder[key].trial.spec.id

    def _read(self, trial_ids: set[str] | Sequence[str]) -> None:
        """Take finished trials from the store."""
        self._outcomes |= self._store.all_outcomes(trial_ids)
        for point in self._store.finished_points(self._sweep, trial_ids):
            for track, rung in self._places[point.trial]:
                if track.workload == point.workload:
                    text = rung.configuration[1]
                    own: list[Point] = track.runners[rung.configuration].points.setdefault(
                        point.seed, []
                    )
                    if all(point.trial != each.trial for each in own):
                        own.append(dataclasses.replace(point, hyperparameters_json=text))

    def _head(self, trial_id: str) -> Head:
        if trial_id not in self._heads:
            outcomes = self._outcomes[trial_id].values.tolist()
            self._heads[trial_id] = Head(self._store.metrics(trial_id), outcomes)
        return self._heads[trial_id]


def configuration(spec: TrialSpec) -> Configuration:
    """What a trial is compared as, over all its seeds."""
    return spec.method.id, to_json(spec.method.params), spec.keep_ratio, spec.schedule.label
