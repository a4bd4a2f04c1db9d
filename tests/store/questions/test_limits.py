"""Bounds mean the same wherever they are given: only what was really measured keeps to them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from store.frontiers.frontier import select
from store.frontiers.paired import load
from store.questions import limits
from store.releases.release import release_of
from store.repository import Store
from sweeps.times import Times
from tests.store import examples

SWEEP, OBJECTIVES = "limits", {"quality": "maximize", "flops": "minimize"}
HONEST, SIMULATED, BESIDE_OTHERS = (examples.spec(number) for number in range(3))
Kept = Callable[[Store, dict[str, float]], set[str]]


def by_points(store: Store, maximum: dict[str, float]) -> set[str]:
    return {point.trial for point in select(store.points(SWEEP), OBJECTIVES, maximum)}


def by_columns(store: Store, maximum: dict[str, float]) -> set[str]:
    members = store.candidates(SWEEP, {*OBJECTIVES, *maximum})["digits"]
    return {
        trial
        for trial, keeps in zip(members.trials, members.within(maximum, {}), strict=True)
        if keeps
    }


def over_seeds(store: Store, maximum: dict[str, float]) -> set[str]:
    (paired,) = load(store, SWEEP)
    keeps = limits.within(paired, maximum, {})
    kept = [each for each, keep in zip(paired.configurations, keeps, strict=True) if keep]
    return {trial for each in kept for trial in each.trials}


def by_cost(store: Store, maximum: dict[str, float]) -> set[str]:
    """As a server keeps to a request's limits."""
    costs = {
        each.trial: [(each.cost(name), limit) for name, limit in maximum.items()]
        for each in release_of(store, SWEEP).configurations
    }
    return {
        trial
        for trial, pairs in costs.items()
        if all(cost is not None and cost <= limit for cost, limit in pairs)
    }


@pytest.fixture
def bounded(store: Store) -> Store:
    """Three equal points; the kv of one is simulated, the latency of another taken in company."""
    trials = [HONEST, SIMULATED, BESIDE_OTHERS]
    spec = {"workloads": {"digits": {"objectives": OBJECTIVES}}}
    store.begin_sweep(SWEEP, "", spec, [("digits", "2x", trial) for trial in trials], [])
    simulated = {SIMULATED.id: ["kv", "peak_bytes"]}
    store.record([examples.finished(t, kv=0.2, simulated=simulated.get(t.id, [])) for t in trials])
    half = Times(latency=0.5)
    store.record([examples.timed(trial, half, trial is not BESIDE_OTHERS) for trial in trials])
    return store


@pytest.mark.parametrize("kept", [by_points, by_columns, over_seeds, by_cost])
def test_only_what_was_measured_keeps_to_a_bound(bounded: Store, kept: Kept) -> None:
    everything = {HONEST.id, SIMULATED.id, BESIDE_OTHERS.id}
    assert kept(bounded, {"flops": 0.8}) == everything
    assert kept(bounded, {"kv": 0.3}) == everything - {SIMULATED.id}
    assert kept(bounded, {"latency": 0.6}) == everything - {BESIDE_OTHERS.id}
    assert kept(bounded, {"kv": 0.1}) == set()


def test_a_release_says_what_is_simulated(bounded: Store) -> None:
    release = release_of(bounded, SWEEP)
    assert {each.trial: each.measured.simulated for each in release.configurations} == {
        HONEST.id: [],
        SIMULATED.id: ["kv", "peak_bytes"],
        BESIDE_OTHERS.id: [],
    }
