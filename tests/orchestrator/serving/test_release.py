"""A release is the frontier that was measured, and is refused once it is something else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.serving.gate import require_current
from store.frontiers.frontier import frontier
from store.records import NOT_NUMBERS
from store.releases.release import Release, release_of
from store.repository import Store
from sweeps.trial import Named, TrialSpec
from tests.store import examples


def test_a_release_holds_each_workloads_frontier_with_its_numbers(store, release) -> None:
    assert [(w.name, w.first_cost) for w in release.workloads] == [
        ("digits", "flops"),
        ("recall", "kv"),
        ("bytes", "kv"),
        ("pictures", "flops"),
    ]
    for workload in release.workloads:
        points = store.points(release.sweep, workload.name)
        best = {point.trial: point for point in frontier(points, workload.objectives)}
        assert [c.trial for c in workload.configurations] == list(best)
        for configuration in workload.configurations:
            assert configuration.spec.id == configuration.trial
            numbers = configuration.measured.model_dump(exclude=NOT_NUMBERS)
            point = best[configuration.trial]
            assert numbers == point.metrics | dict.fromkeys(point.outside_lane)
            assert point.outside_lane, "nothing was timed in the lane"


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


def measured(folder: Path, *methods: str) -> Store:
    """A store with one finished trial of each method, the later ones better and cheaper."""
    trials = [
        examples.spec().model_copy(update={"method": Named(id=method, version=1)})
        for method in methods
    ]
    store = Store(f"sqlite:///{folder}/results.db")
    objectives = {"quality": "maximize", "flops": "minimize"}
    spec = {"name": "quickstart", "workloads": {"digits": {"objectives": objectives}}}
    store.begin_sweep("quickstart", "", spec, [("digits", "2x", trial) for trial in trials], [])
    better = enumerate(trials, start=1)
    store.record([examples.finished(t, quality=i / 10, flops=1 - i / 10) for i, t in better])
    return store


def test_what_needs_another_interpreter_is_left_out_and_said(tmp_path: Path) -> None:
    presses = ("kvpress/SnapKVPress", "kvpress/KnormPress")
    found = release_of(measured(tmp_path, "identity", "tome", *presses), "quickstart")
    (workload,) = found.workloads
    assert [c.spec.method.id for c in workload.configurations] == ["tome"]
    assert found.shortfall == (
        "left out kvpress/KnormPress, kvpress/SnapKVPress: they need another interpreter"
    )
    assert Release.model_validate_json(found.model_dump_json()) == found


def test_a_workload_of_presses_alone_is_named(release: Release) -> None:
    found = release.model_copy(update={"left_out": {"long": ("kvpress/KnormPress",)}})
    assert found.shortfall is not None
    assert found.shortfall.endswith("; nothing is left of workload 'long'")


def test_a_release_of_our_own_methods_lacks_nothing(release: Release) -> None:
    assert release.shortfall is None


def test_where_nothing_is_left_there_is_no_release(tmp_path: Path) -> None:
    store = measured(tmp_path, "kvpress/SnapKVPress")
    with pytest.raises(ValueError, match=r"nothing of sweep 'quickstart' can .*presses"):
        release_of(store, "quickstart")


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


def test_a_workload_without_a_frontier_is_left_out_and_said(tmp_path: Path) -> None:
    trials = [examples.spec(number) for number in range(2)]
    by_flops = {"quality": "maximize", "flops": "minimize"}
    by_latency = {"quality": "maximize", "latency": "minimize"}
    spec = {"workloads": {"fast": {"objectives": by_latency}, "lean": {"objectives": by_flops}}}
    with Store(f"sqlite:///{tmp_path}/results.db") as store:
        store.begin_sweep(
            "both", "", spec, [("lean", "2x", trials[0]), ("fast", "2x", trials[1])], []
        )
        store.begin_sweep("untimed", "", spec, [("fast", "2x", trials[1])], [])
        store.record([examples.finished(trial) for trial in trials])
        found = release_of(store, "both")
        assert [workload.name for workload in found.workloads] == ["lean"]
        assert found.shortfall == (
            "left out workload 'fast': no trial has a measured value for all of quality, latency"
        )
        with pytest.raises(ValueError, match=r"objectives of 'fast' \(quality, latency\); `pareto"):
            release_of(store, "untimed")
