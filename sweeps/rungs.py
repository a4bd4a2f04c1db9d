"""A trial over fewer examples: the same combination, on the front of the same examples."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from methods import registry as methods_registry
from sweeps.fields import Direction
from sweeps.plan import Impossible, Plan, PlannedTrial
from sweeps.search import Race
from sweeps.tasks import registry as tasks_registry
from sweeps.tasks.base import Task
from sweeps.trial import Named, TrialSpec


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
