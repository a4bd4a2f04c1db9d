"""A canary is judged by rates beyond doubt: never by luck, and never too late."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.serving.judging import Rate, verdict
from orchestrator.serving.tally import Tally
from store.releases.line import Terms

TERMS = Terms(requests=200)
CALM = Tally(requests=800, seconds=[0.010 + i * 1e-5 for i in range(800)])


def seen(requests: int, errors: int = 0, slow: int = 0, **compared: float) -> Tally:
    seconds = [0.012] * (requests - errors - slow) + [0.5] * slow
    return Tally(requests, errors, seconds, **compared)  # type: ignore[arg-type]


def test_it_takes_over_after_enough_requests_and_not_before() -> None:
    assert verdict(seen(199), CALM, TERMS) is None
    found = verdict(seen(200), CALM, TERMS)
    assert found is not None
    assert found.takes_over
    assert found.evidence["errors"].startswith("errors: 0 of 200 [0.0%")


@pytest.mark.parametrize(
    ("canary", "words"),
    [
        (seen(1, errors=1), "errors: 1 of 1"),
        (seen(30, errors=4), "errors: 4 of 30"),
        (seen(100, slow=30), "slower than"),
        (seen(100, compared=60, disagreements=40, tolerated=6.0), "other answers: 40 of 60"),
    ],
)
def test_a_broken_limit_ends_it_at_once_and_is_named(canary: Tally, words: str) -> None:
    found = verdict(canary, CALM, TERMS)
    assert found is not None
    assert not found.takes_over
    assert words in found.why


@pytest.mark.parametrize(
    "canary",
    [
        seen(60, errors=1),  # one in sixty may be bad luck
        seen(100, slow=8),  # of 5 that may be slow
        seen(100, compared=60, disagreements=8, tolerated=6.0),
        seen(10, slow=10),  # too few to compare latencies
    ],
)
def test_what_may_be_luck_ends_nothing(canary: Tally) -> None:
    assert verdict(canary, CALM, TERMS) is None


def test_latencies_wait_for_requests_of_both() -> None:
    assert verdict(seen(100, slow=100), Tally(requests=5, seconds=[0.01] * 5), TERMS) is None


def test_the_interval_covers_the_rate_however_often_one_looks() -> None:
    """A canary that just keeps to its limit is rarely condemned, looked at after each request."""
    random = np.random.default_rng(0)
    condemned = 0
    for _ in range(200):
        hits = np.cumsum(random.random(200) < 0.05)
        condemned += any(Rate("slow", int(hits[n - 1]), n, 0.05).broken for n in range(20, 201, 5))
    assert condemned <= 6


def test_tallies_add_up() -> None:
    whole = seen(3, errors=1)
    whole.add(seen(2, slow=1, compared=2, disagreements=1, tolerated=0.5))
    assert (whole.requests, whole.errors, whole.seconds) == (5, 1, [0.012, 0.012, 0.012, 0.5])
    assert (whole.compared, whole.disagreements, whole.tolerated) == (2, 1, 0.5)
