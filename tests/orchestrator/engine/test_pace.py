"""Trials of milliseconds travel together, longer ones do not, and nobody takes all that waits."""

from __future__ import annotations

import pytest

from orchestrator.engine.pace import MAX_JOB, Pace


def pace_of(*seconds: float) -> Pace:
    pace = Pace()
    for each in seconds:
        pace.took(each)
    return pace


def test_trials_go_one_by_one_before_it_is_known_how_long_they_take() -> None:
    pace = pace_of()
    assert not pace.prefetches
    assert (pace.job_size(1_000, 2), pace.horizon(1_000, 2)) == (1, 1)


@pytest.mark.parametrize(
    ("seconds", "job_size", "horizon", "prefetches"),
    [
        (0.001, 50, 1_000, True),
        (1e-9, MAX_JOB, 25_000, True),
        (0.04, 1, 25, True),
        (1.9, 1, 1, True),
        (2.1, 1, 1, False),
    ],
)
def test_short_trials_travel_together(
    seconds: float, job_size: int, horizon: int, prefetches: bool
) -> None:
    pace = pace_of(seconds)
    assert (pace.job_size(100_000, 2), pace.horizon(100_000, 2)) == (job_size, horizon)
    assert pace.prefetches is prefetches


def test_a_worker_takes_half_of_its_share_at_most() -> None:
    pace = pace_of(0.001)
    assert (pace.job_size(40, 2), pace.horizon(40, 2)) == (10, 10)
    assert (pace.job_size(1, 2), pace.horizon(1, 2)) == (1, 1)


def test_one_slow_trial_among_quick_ones_changes_nothing() -> None:
    assert pace_of(0.001, 0.001, 60.0).job_size(100_000, 2) == 50
