"""A release is the frontier that was measured, and is refused once it is something else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.serving.gate import require_current
from orchestrator.serving.release import Release, release_of
from store.frontier import frontier
from store.records import NOT_NUMBERS
from store.repository import Store
from sweeps.trial import TrialSpec


def test_a_release_holds_each_workloads_frontier_with_its_numbers(store, release) -> None:
    assert [(w.name, w.first_cost) for w in release.workloads] == [
        ("digits", "flops"),
        ("recall", "kv"),
    ]
    for workload in release.workloads:
        points = store.points(release.sweep, workload.name)
        best = {point.trial: point for point in frontier(points, workload.objectives)}
        assert [c.trial for c in workload.configurations] == list(best)
        for configuration in workload.configurations:
            assert configuration.spec.id == configuration.trial
            numbers = configuration.measured.model_dump(exclude=NOT_NUMBERS)
            assert numbers == best[configuration.trial].metrics
            assert configuration.measured == store.metrics(configuration.trial)


def test_a_release_travels_as_json(release) -> None:
    assert Release.model_validate_json(release.model_dump_json()) == release


def test_an_unknown_sweep_names_the_nearest(store) -> None:
    with pytest.raises(ValueError, match="did you mean 'serving-tests'"):
        release_of(store, "serving-test")


def test_a_sweep_without_results_is_not_released(store, tmp_path: Path) -> None:
    empty = Store(f"sqlite:///{tmp_path}/empty.db")
    empty.begin_sweep("planned", "", store.spec("serving-tests"), [], [])
    with pytest.raises(ValueError, match="no finished trials"):
        release_of(empty, "planned")


def test_what_was_measured_is_current(release) -> None:
    require_current(release)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone": {"fingerprint": "0" * 16}}, "other weights of 'vit'"),
        ({"data": "0" * 16}, "other examples of task 'digits'"),
        ({"method": {"version": 999}}, "version 999 of method"),
    ],
    ids=["weights", "data", "method"],
)
def test_a_change_since_the_measurement_is_refused(release, change, message) -> None:
    digits = release.workloads[0]
    first = digits.configurations[0]
    content = json.loads(first.spec.model_dump_json())
    for key, value in change.items():
        content[key] = {**content[key], **value} if isinstance(value, dict) else value
    changed = first.model_copy(update={"spec": TrialSpec.model_validate(content)})
    workload = digits.model_copy(update={"configurations": (changed,)})
    with pytest.raises(ValueError, match=message):
        require_current(release.model_copy(update={"workloads": (workload,)}))
