"""Run a stored trial again in this process, and say where conditions and numbers differ.

On the same machine, with the same versions, weights and data every number that is not a time is
the same bits; :data:`sweeps.times.TIME_METRICS` are told apart and decide nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from orchestrator.engine.environments import by_interpreter
from orchestrator.measurement.environment import environment
from orchestrator.measurement.models import build_method, build_task
from orchestrator.measurement.trial import run_trial
from store.records import AttemptRecord
from store.repository import Store
from sweeps import models
from sweeps.times import TIME_METRICS
from sweeps.trial import Metrics, RandomWeights, TrialResult, TrialSpec


@dataclass(frozen=True, slots=True)
class Pair:
    """One thing as it was and as it is."""

    name: str
    then: Any
    now: Any

    @property
    def same(self) -> bool:
        """Whether nothing changed; of numbers every bit."""
        both_nan = self.then != self.then and self.now != self.now
        return bool(both_nan or (type(self.then) is type(self.now) and self.then == self.now))


@dataclass(frozen=True)
class Reproduction:
    """What was, and what came of trying again."""

    spec: TrialSpec
    before: AttemptRecord
    conditions: list[Pair]
    numbers: list[Pair]
    """Metrics that are not times, and how the attempt ended."""
    times: list[Pair]
    num_outcomes: int
    outcomes_that_differ: list[int]
    """Examples, counted from 0."""
    refused: str | None
    """Why the trial was not run again."""
    error: str | None
    """What went wrong this time."""

    @property
    def equal(self) -> bool:
        """Whether every number came out the same."""
        ran = self.refused is None
        return ran and not self.outcomes_that_differ and all(each.same for each in self.numbers)


def reproduce(store: Store, trial_id: str) -> Reproduction:
    """Run a trial again under conditions as near to the stored ones as this process can make.

    ``trial_id`` may be cut short as long as it stays unique. The number of threads is set as it
    was. Raises ValueError for a trial that was never attempted or cannot be run by this process.
    """
    before = store.attempt(store.trial_id(trial_id))
    spec = store.trial_spec(before.trial)
    _require_this_interpreter(spec)
    threads = before.environment.get("threads")
    if isinstance(threads, int):
        torch.set_num_threads(threads)
    conditions = [*_conditions(spec, before)]
    refused = _refusal(conditions)
    if refused is not None:
        return Reproduction(spec, before, conditions, [], [], 0, [], refused, None)
    result = run_trial(spec)
    return _compared(store, spec, before, conditions, result)


def _require_this_interpreter(spec: TrialSpec) -> None:
    (python,) = by_interpreter([spec])
    if python is not None:
        raise ValueError(
            f"{spec.method.id} runs in an environment of its own: "
            f"{python} -m orchestrator.cli reproduce {spec.id}"
        )


def _conditions(spec: TrialSpec, before: AttemptRecord) -> Iterator[Pair]:
    """Everything besides the spec that may explain a number, then what the spec names."""
    environment.cache_clear()  # threads may have been set since
    then, now = _flat(before.environment), _flat(environment())
    for name in dict.fromkeys([*then, *now]):
        yield Pair(name, then.get(name), now.get(name))
    yield Pair("method version", spec.method.version, build_method(spec).revision)
    task = build_task(spec)
    yield Pair("task version", spec.task.version, task.version)
    yield Pair("data", spec.data, task.data_fingerprint())
    yield Pair("weights", spec.backbone.fingerprint, _fingerprint(spec))


def _flat(noted: Mapping[str, Any]) -> dict[str, Any]:
    packages = noted.get("packages", {})
    others = {name: value for name, value in noted.items() if name != "packages"}
    return {**others, **packages}


def _fingerprint(spec: TrialSpec) -> str:
    """That of the weights as they are here; a hub model is pinned to its commit."""
    weights = spec.backbone
    if isinstance(weights, RandomWeights) or models.unchanged(weights):
        return weights.fingerprint
    try:
        return models.fingerprint(models.folder(weights))
    except models.ModelError as error:
        return str(error)


def _refusal(conditions: list[Pair]) -> str | None:
    """Numbers of other weights would answer another question."""
    weights = next(pair for pair in conditions if pair.name == "weights")
    return None if weights.same else "the weights are not those that were measured"


def _compared(
    store: Store,
    spec: TrialSpec,
    before: AttemptRecord,
    conditions: list[Pair],
    result: TrialResult,
) -> Reproduction:
    ended = Pair("ended", before.failure or before.state, result.failure or result.state)
    numbers, times, differ, num_outcomes = [ended], [], [], 0
    if ended.same and result.metrics is not None:
        stored = store.metrics(spec.id)
        pairs = [
            Pair(name, getattr(stored, name), getattr(result.metrics, name))
            for name in Metrics.model_fields
        ]
        numbers += [pair for pair in pairs if pair.name not in TIME_METRICS]
        times = [pair for pair in pairs if pair.name in TIME_METRICS]
        outcomes = store.all_outcomes([spec.id])[spec.id].values.tolist()
        differ, num_outcomes = _differing(outcomes, result.outcomes), len(outcomes)
    times.append(Pair("seconds", before.seconds, result.seconds))
    return Reproduction(
        spec, before, conditions, numbers, times, num_outcomes, differ, None, result.error
    )


def _differing(then: list[float], now: list[float]) -> list[int]:
    """Examples whose outcome is another, or that only one of the runs has."""
    length = max(len(then), len(now))
    padded = [values + [math.inf] * (length - len(values)) for values in (then, now)]
    pairs = (Pair(str(index), *both) for index, both in enumerate(zip(*padded, strict=True)))
    return [int(pair.name) for pair in pairs if not pair.same]
