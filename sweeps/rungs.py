"""A trial over fewer examples: the same combination, on the front of the same examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from methods import registry as methods_registry
from sweeps.metrics import Direction
from sweeps.plan import Impossible, Plan, PlannedTrial
from sweeps.search import Race, Tune
from sweeps.space import Space, suggestions
from sweeps.spec import SweepSpec
from sweeps.tasks import registry as tasks_registry
from sweeps.tasks.base import Task
from sweeps.trial import Named, TrialSpec


@dataclass(frozen=True)
class Price:
    """What a race costs at most, and at least."""

    rungs: dict[str, list[int]]
    """Examples at every rung of each workload."""
    at_most: int
    """Example evaluations if nothing is ever stopped."""
    at_least: int
    """If everything is settled at the first rung."""
    coarse: dict[str, tuple[int, int]]
    """Workloads whose first rung is larger than asked for: the wish, and the batch."""

    @property
    def sentences(self) -> list[str]:
        """The price in sentences for people, one a line of `paretoken plan`."""
        found = [
            f"a race: at most {self.at_most:,} example evaluations, at least {self.at_least:,} "
            f"({self.at_least / max(1, self.at_most):.0%})"
        ]
        for workload, numbers in self.rungs.items():
            found.append(f"  {workload}: {', '.join(map(str, numbers))} examples")
        for workload, (wish, batch) in self.coarse.items():
            found.append(
                f"  {workload} evaluates {batch} examples at a time: a batch_size of {wish} would "
                "let the race go on where it stopped, and evaluate nothing twice"
            )
        return found


def price(plan: Plan, race: Race) -> Price:
    """What the race that a plan becomes costs."""
    rungs: dict[str, list[int]] = {}
    coarse, least, most = {}, 0, 0
    for trial in plan.trials:
        task = _task(trial.spec.task.model_dump_json())
        numbers = rungs.setdefault(trial.workload, list(sizes(trial.spec, race)))
        least, most = least + numbers[0], most + task.num_examples
        wish = race.sizes(task.num_examples, 1, task.least_examples())[0]
        if wish < task.batch_size and len(numbers) > 1:
            coarse[trial.workload] = (wish, task.batch_size)
    return Price(rungs, most, least, coarse)


@dataclass(frozen=True)
class Suggestions:
    """What a search algorithm costs at most."""

    at_most: int
    """Trials, the uncompressed models included."""
    sentences: list[str]
    """The price in sentences for people."""


def searched(spec: SweepSpec, plan: Plan) -> tuple[Plan, Price | Suggestions | None]:
    """What is known beforehand of a sweep's search, and its price if it is no grid."""
    search = spec.search
    if isinstance(search, Race):
        fit = runnable(plan, spec.objectives_by_workload)
        return fit, price(fit, search)
    if isinstance(search, Tune):
        spaces = [Space(spec, name) for name in spec.workloads]
        limit = spec.budget.max_trials
        known = tuple(trial for space in spaces for trial in space.baseline())[:limit]
        numbers = suggestions(spaces, search.num_trials, limit)
        pairs = zip(numbers, spaces, strict=True)
        most = len(known) + sum(number * len(space.sites) for number, space in pairs)
        number = f"{max(numbers):,} suggestions of {search.algorithm} for each workload"
        lines = [f"{number}: at most {most:,} trials", *(f"  {s.sentence}" for s in spaces)]
        return Plan(known, (), 0), Suggestions(most, lines)
    return plan, None


def sizes(trial: TrialSpec, race: Race) -> tuple[int, ...]:
    """Examples at every rung of a trial, the last one all that it has."""
    task = _task(trial.task.model_dump_json())
    return race.sizes(task.num_examples, task.batch_size, task.least_examples())


def shortened(trial: TrialSpec, num_examples: int) -> TrialSpec:
    """The trial over its first ``num_examples``; an ordinary trial, and the same everywhere."""
    named, data = _shortened(trial.task.model_dump_json(), num_examples)
    return TrialSpec.model_construct(**(dict(trial) | {"task": named, "data": data}))


def runnable(plan: Plan, objectives: Mapping[str, Mapping[str, Direction]]) -> Plan:
    """The plan without what no frontier over the objectives would take."""
    fit, left_out = [], []
    for trial in plan.trials:
        method = methods_registry.build(trial.spec.method.id, trial.spec.method.params)
        pretended = sorted(method.simulated & objectives[trial.workload].keys())
        if pretended:
            left_out.append(_left_out(trial, pretended))
        else:
            fit.append(trial)
    return Plan(tuple(fit), (*plan.impossible, *left_out), plan.collapsed)


def _left_out(trial: PlannedTrial, pretended: list[str]) -> Impossible:
    spec, costs = trial.spec, " and ".join(pretended)
    reason = f"only simulates {costs}: it could not be on the frontier that the race looks for"
    label, schedule = trial.keep_label, spec.schedule.label
    return Impossible(trial.workload, spec.method.id, label, schedule, spec.seed, reason)


@lru_cache(maxsize=256)
def _task(named_json: str) -> Task[Any, Any]:
    named = Named.model_validate_json(named_json)
    return tasks_registry.build(named.id, named.params)


@lru_cache(maxsize=256)
def _shortened(named_json: str, num_examples: int) -> tuple[Named, str]:
    named = Named.model_validate_json(named_json)
    params = named.params | {"num_examples": num_examples}
    task = tasks_registry.build(named.id, params)
    return named.model_copy(update={"params": params}), task.data_fingerprint()
