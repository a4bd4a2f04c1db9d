from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.measurement.latency import (
    CONFIDENCE,
    coverage,
    measure_latency,
    median_interval,
    percentile,
    seconds_of,
)
from orchestrator.measurement.surroundings import watched


def test_runs_alternate_and_their_order_swaps() -> None:
    order: list[str] = []

    def run(name: str, seconds: float) -> Callable[[], float]:
        return lambda: order.append(name) or seconds  # type: ignore[func-returns-value]

    paired = measure_latency(run("b", 2.0), run("v", 1.0), pairs=4)
    assert "".join(order) == "bvvbbvvb"
    assert paired.ratios == [0.5] * 4
    assert (paired.ratio, paired.interval.low, paired.interval.high) == (0.5, 0.5, 0.5)


def test_a_clock_sees_what_a_call_takes() -> None:
    assert seconds_of(lambda: time.sleep(0.05), torch.device("cpu")) >= 0.05


@pytest.mark.parametrize("n", range(1, 13))
def test_coverage_is_what_counting_all_cases_says(n: int) -> None:
    """Every value is above or below the true median with equal chance: 2**n cases."""
    for k in range(1, n // 2 + 1):
        inside = sum(k <= sum(signs) <= n - k for signs in itertools.product((0, 1), repeat=n))
        assert coverage(n, k) == pytest.approx(inside / 2**n)


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=60))
def test_an_interval_holds_the_median_and_is_as_sure_as_it_says(values: list[float]) -> None:
    ordered = sorted(values)
    found = median_interval(values)
    assert ordered[0] <= found.low <= found.high <= ordered[-1]
    assert found.low <= percentile(values, 0.5) <= found.high
    if len(values) >= 6:
        assert found.confidence >= CONFIDENCE
    else:
        assert (found.low, found.high) == (ordered[0], ordered[-1])


@given(st.lists(st.floats(0.1, 10), min_size=6, max_size=40), st.floats(0.1, 100))
def test_an_interval_scales_with_its_values(values: list[float], factor: float) -> None:
    found, scaled = median_interval(values), median_interval([factor * each for each in values])
    assert (scaled.low, scaled.high) == (factor * found.low, factor * found.high)


def test_nine_pairs_leave_the_extremes_out() -> None:
    found = median_interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0])
    assert (found.low, found.high) == (2.0, 8.0)
    assert found.confidence == pytest.approx(1 - 2 * 10 / 512)


def test_what_else_a_machine_does_is_noticed() -> None:
    """A process of its own that computes, while this one sleeps."""
    import subprocess
    import sys

    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        with watched() as watch:
            time.sleep(1.0)
    finally:
        busy.kill()
        busy.wait()
    assert any(reason.startswith("other processes used") for reason in watch.disturbed)
    assert watch.conditions["others"] > 0.1
