"""Suggestions of a search algorithm, on the same warm workers as everything else.

``ray.tune.search`` is asked and told (``Searcher.suggest``, ``Searcher.on_trial_complete``);
Tune itself runs nothing. A suggestion is one configuration; its trials, one for each seed, are
ordinary ones: what the store has is not measured again, here or in any other sweep.

Suggestion ``n`` is asked for once the first ``n - at_once`` are told, in their order. What is
suggested depends on the file and on results alone, whoever is faster, however many workers there
are, and wherever a run was killed: the same file on the same store ends with the same trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean
from typing import Any

from store.repository import Store
from sweeps.plan import Impossible, PlannedTrial
from sweeps.search import Tune
from sweeps.site import Refusal
from sweeps.space import Ends, Space, suggestions
from sweeps.spec import SweepSpec
from sweeps.trial import Head, Metrics, TrialResult, TrialSpec, TrialState

Values = Mapping[str, float | None]


@dataclass
class Suggestion:
    """One configuration that was suggested."""

    name: str
    trials: list[PlannedTrial]
    refused: list[Impossible] = field(default_factory=list)
    """Why it cannot run, if it cannot, for each seed."""
    missing: set[str] = field(default_factory=set)
    """Trials without which it cannot be told."""


class _Asked:
    """Answers a space's questions with an Optuna trial."""

    def __init__(self, trial: Any) -> None:
        self._trial = trial

    def choice(self, name: str, labels: list[str]) -> str:
        return str(self._trial.suggest_categorical(name, labels))

    def number(self, name: str, ends: Ends, log: bool) -> float:
        return float(self._trial.suggest_float(name, *ends, log=log))


class Study:
    """The search over one workload."""

    def __init__(self, space: Space, search: Tune, num_suggestions: int) -> None:
        self.space = space
        self._search, self._num_suggestions = search, num_suggestions
        self.suggestions: list[Suggestion] = []
        self._told = 0

    def more(self, known: Mapping[str, Values | None]) -> list[Suggestion]:
        """Tell what is known, in order, and ask for as many more; ``known`` has None for failures.

        Returns what is new, whether it has to be measured or not.
        """
        asked: list[Suggestion] = []
        while True:
            self._tell(known)
            under_way = len(self.suggestions) - self._told
            done = len(self.suggestions) >= self._num_suggestions
            if done or under_way >= self._search.at_once:
                return asked
            suggestion = self._ask()
            suggestion.missing = {trial.spec.id for trial in suggestion.trials} - known.keys()
            self.suggestions.append(suggestion)
            asked.append(suggestion)

    def _ask(self) -> Suggestion:
        name = f"{self.space.workload}-{len(self.suggestions)}"
        chosen = self._searcher.suggest(name)
        try:
            return Suggestion(name, self.space.trials(chosen))
        except Refusal as error:
            return Suggestion(name, [], self.space.refused(chosen, str(error)))

    def _tell(self, known: Mapping[str, Values | None]) -> None:
        for suggestion in self.suggestions[self._told :]:
            suggestion.missing -= known.keys()
            if suggestion.missing:
                return
            found = [known[trial.spec.id] for trial in suggestion.trials]
            result = _means([each for each in found if each is not None], self.space.objectives)
            failed = result is None or None in found
            self._searcher.on_trial_complete(suggestion.name, None if failed else result, failed)
            self._told += 1

    @cached_property
    def _searcher(self) -> Any:
        import optuna
        from ray.tune.search.optuna import OptunaSearch

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        samplers = {
            "optuna": optuna.samplers.TPESampler,
            "nsga2": optuna.samplers.NSGAIISampler,
            "random": optuna.samplers.RandomSampler,
        }
        modes = {"maximize": "max", "minimize": "min"}
        return OptunaSearch(
            lambda trial: self.space.ask(_Asked(trial)),
            metric=list(self.space.objectives),
            mode=[modes[direction] for direction in self.space.objectives.values()],
            sampler=samplers[self._search.algorithm](seed=self._search.random_seed),
        )


class TuneFeed:
    """The searches over all workloads of a sweep, on one pool."""

    notes: Mapping[str, Any] = {}

    def __init__(self, store: Store, spec: SweepSpec, search: Tune) -> None:
        self._store, self._sweep = store, spec.name
        self._limit = spec.budget.max_trials
        spaces = [Space(spec, name) for name in spec.workloads]
        numbers = suggestions(spaces, search.num_trials, self._limit)
        pairs = zip(spaces, numbers, strict=True)
        self._studies = [Study(space, search, number) for space, number in pairs]
        self._known: dict[str, Values | None] = {}
        self._reused: set[str] = set()
        self.width = search.at_once * sum(len(study.space.sites) for study in self._studies)
        self.trials: dict[str, PlannedTrial] = {}
        """Everything that was asked for so far."""

    @property
    def planned(self) -> int:
        """Trials asked for so far, measured before or not."""
        return len(self.trials)

    @property
    def reused(self) -> int:
        """Trials asked for that were measured before."""
        return len(self._reused)

    @property
    def impossible(self) -> Sequence[Impossible]:
        """Suggestions that cannot run, and seeds without weights."""
        found = []
        for study in self._studies:
            name = study.space.workload
            for seed, reason in study.space.reasons.items():
                found.append(Impossible(name, "*", "*", "*", seed, reason))
            found += [each for asked in study.suggestions for each in asked.refused]
        return list(dict.fromkeys(found))

    def first_plan(self) -> Sequence[PlannedTrial]:
        """The uncompressed models; the rest follows."""
        trials = [trial for study in self._studies for trial in study.space.baseline()]
        return trials[: self._limit]

    def begin(self) -> Sequence[TrialSpec]:
        """Baselines and the first suggestions, those that the store does not have."""
        asked = self._take(self.first_plan())
        return [*asked, *(spec for study in self._studies for spec in self._advance(study))]

    def after(self, result: TrialResult) -> Sequence[TrialSpec]:
        """What is suggested now that this result is known."""
        finished = result.state is TrialState.FINISHED
        self._known[result.trial_id] = _values(result.metrics) if finished else None
        return [spec for study in self._studies for spec in self._advance(study)]

    def heads(self, specs: Sequence[TrialSpec]) -> Mapping[str, Head]:  # noqa: ARG002
        """None: every trial is whole."""
        return {}

    def _advance(self, study: Study) -> list[TrialSpec]:
        """Ask until there is something to measure, or nothing to ask."""
        asked: list[TrialSpec] = []
        while new := study.more(self._known):
            trials = [trial for suggestion in new for trial in suggestion.trials]
            asked += self._take(trials)
            refused = dict.fromkeys(each for suggestion in new for each in suggestion.refused)
            self._store.add_impossible(self._sweep, [each._asdict() for each in refused])
        return asked

    def _take(self, trials: Sequence[PlannedTrial]) -> list[TrialSpec]:
        """Plan the trials that are new; those that the store does not have."""
        new = {t.spec.id: t for t in trials if t.spec.id not in self.trials}
        self.trials |= new
        rows = [(trial.workload, trial.keep_label, trial.spec) for trial in trials]
        if rows:
            self._store.extend_sweep(self._sweep, rows)
        finished = self._store.finished(new)
        self._reused |= finished
        for trial_id in finished:
            self._known[trial_id] = _values(self._store.metrics(trial_id))
        return [trial.spec for trial_id, trial in new.items() if trial_id not in finished]


def _values(metrics: Metrics | None) -> Values | None:
    """Numbers that were really measured; what is only simulated saves nothing."""
    if metrics is None:
        return None
    return {**metrics.model_dump(), **dict.fromkeys(metrics.simulated)}


def _means(found: Sequence[Values], objectives: Mapping[str, str]) -> dict[str, float] | None:
    """Objectives over the seeds; None where one has no value, or there is no seed."""
    columns = {name: [values[name] for values in found] for name in objectives}
    known = {name: [v for v in column if v is not None] for name, column in columns.items()}
    if not found or any(len(known[name]) < len(found) for name in objectives):
        return None
    return {name: fmean(column) for name, column in known.items()}
