"""What the pages are made of agrees with the store and with the questions that people ask it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from dashboards.app import exports, traffic
from dashboards.app.comparison import compare
from dashboards.app.configurations import configurations_of, family_of
from dashboards.app.serving_page import _sections
from dashboards.app.shelf import Shelf
from methods import registry
from orchestrator.serving.observed import Numbers, Observation
from orchestrator.serving.schemas import Frontier, FrontierWorkload
from store.frontiers.paired import load
from store.questions.drill_down import drill_down
from store.releases.release import release_of
from store.repository import Store
from sweeps.load import parse_sweep
from sweeps.plan import plan
from tests.dashboards import examples

RELEASE = {"sweep": "small", "workloads": []}


def test_columns_say_what_the_points_say(measured: Store) -> None:
    points = measured.points("small", "digits")
    found = configurations_of(points, measured.objectives("small")["digits"])
    columns = json.loads(found.as_json)
    for point in points:
        i = columns["trial"].index(point.trial)
        assert columns["variants"][columns["variant"][i]].split("(")[0] == point.method
        assert columns["keep"][i] == pytest.approx(point.keep_ratio, rel=1e-5)
        for name in ("quality", "flops", "tokens"):
            assert columns["values"][name][i] == pytest.approx(point.metrics[name], rel=1e-5)
    assert columns["families"] == ["controls", "vision", "vision", "vision", "vision"]
    assert sum(columns["baseline"]) == 1
    assert set(columns["axes"]) >= {"quality", "flops", "tokens", "peak_memory"}


def test_what_was_simulated_or_timed_beside_others_is_marked() -> None:
    alone, crowded = (examples.point(keep=keep) for keep in examples.KEEPS)
    crowded = replace(crowded, in_lane=False, simulated_json='["tokens"]')
    columns = configurations_of([alone, crowded], examples.OBJECTIVES["digits"]).as_columns()
    assert (columns["void"]["latency"], columns["void"]["tokens"]) == ([1], [1])
    assert "flops" not in columns["void"]


def test_the_browser_is_told_what_is_over_the_uncompressed_models() -> None:
    found = examples.point()
    measured = replace(found, metrics={**found.metrics, "latency_p95": 0.8, "energy_joules": 3.0})
    columns = configurations_of([measured], examples.OBJECTIVES["digits"]).as_columns()
    assert "latency_p95" in columns["fractions"]
    assert columns["axes"]["latency_p95"] == "p95 latency (of uncompressed)"
    assert "energy_joules" not in columns["fractions"]
    assert columns["axes"]["energy_joules"] == "energy in joules"


def test_families_are_found_without_importing_a_method() -> None:
    known = {"tome": "vision", "snapkv": "kv", "kvpress/KVzipPress": "kvpress", "mine": "other"}
    assert {method: family_of(method) for method in known} == known
    families = {method: entry.family for method, entry in registry.entries().items()}
    assert {method: family_of(method) for method in families} == families


def test_a_comparison_with_the_baseline_is_the_drill_down(measured: Store) -> None:
    (paired,) = load(measured, "small", "digits")
    baseline = paired.configurations[paired.baseline]
    for tally in drill_down(paired).tallies():
        group = paired.configurations[tally.index]
        both = compare(measured, "small", paired.objectives, group, baseline)
        assert (len(both.where("worse")), len(both.where("better"))) == (
            tally.breaks,
            tally.repairs,
        )
        assert both.difference == pytest.approx(tally.difference)
        low, high = both.interval
        assert low <= both.difference <= high


def test_the_yaml_of_any_configuration_plans_its_trials(measured: Store) -> None:
    for workload in ("digits", "recall"):
        points = measured.points("small", workload)
        for group in configurations_of(points, measured.objectives("small")[workload]).groups:
            trial = measured.specs([group.trials[0]])[group.trials[0]]
            text = exports.as_yaml(measured.spec("small"), group, trial)
            planned = {each.spec.id for each in plan(parse_sweep(text)).trials}
            assert set(group.trials) <= planned
            assert len(planned) <= 2 * len(group.trials)  # and the uncompressed model's


def test_answers_are_kept_while_the_sweep_stays_the_same(measured: Store) -> None:
    shelf = Shelf(measured)
    first = shelf.configurations("small", "digits")
    assert shelf.configurations("small", "digits") is first
    measured.end_sweep("small", 2.0, 0.8, {})
    assert shelf.configurations("small", "digits") is not first


def test_traffic_is_what_the_server_counted() -> None:
    numbers = Numbers()
    for seconds in [0.03] * 9 + [0.4]:
        seen = Observation(release=1, workload="digits", point="aa", status=200)
        seen.tokens_in, seen.tokens_kept = 100, 25
        numbers.count("/v1/predict", seen, seconds)
    numbers.count("/v1/predict", Observation(workload="digits", point="aa", status=500), 0.1)
    numbers.count("/v1/predict", Observation(status=422), 0.001)
    found = traffic.parsed(RELEASE, bytes(numbers.page().body).decode())
    counts = found.counts["digits", "aa"]
    assert (counts.requests, counts.errors, counts.tokens_kept / counts.tokens_in) == (11, 1, 0.25)
    assert found.refused_early == 1
    median, late = counts.quantile(0.5), counts.quantile(0.99)
    assert median is not None
    assert late is not None
    assert 0.02 <= median <= 0.05
    assert 0.2 <= late <= 0.5


def test_the_serving_page_lists_what_is_released_beside_its_traffic(measured: Store) -> None:
    release = release_of(measured, "small")
    frontier = Frontier(
        sweep="small", workloads=[FrontierWorkload.of(each) for each in release.workloads]
    )
    chosen = release.workloads[0].configurations[0]
    numbers = Numbers()
    seen = Observation(
        release=1, workload=release.workloads[0].name, point=chosen.trial, status=200
    )
    for _ in range(3):
        numbers.count("/v1/predict", seen, 0.02)
    now = traffic.parsed(frontier.model_dump(mode="json"), bytes(numbers.page().body).decode())
    shown = json.dumps([part.to_plotly_json() for part in _sections(now, now)], default=_json)
    for workload in release.workloads:
        for configuration in workload.configurations:
            assert configuration.trial[:8] in shown
    assert '"children": "3"' in shown


def _json(component: Any) -> Any:
    return component.to_plotly_json()


@pytest.mark.parametrize(
    "url", ["http://example.com", "http://10.0.0.1:8000", "file:///etc/passwd"]
)
def test_only_servers_of_this_machine_are_asked(url: str) -> None:
    with pytest.raises(ValueError, match="is not a server on this machine"):
        traffic.read(url)


def test_a_server_that_is_not_there_is_said_to_be_missing() -> None:
    with pytest.raises(
        ValueError, match=r"nothing answers at http://127\.0\.0\.1:9; start a server"
    ):
        traffic.read("127.0.0.1:9")
