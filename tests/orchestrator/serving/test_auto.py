"""Under load quality gives way, not below the floor, so that answers are in time; then it returns.

The server is a queue in plain Python with a clock of its own; what is served is real.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.keys import ServiceLevel
from orchestrator.serving.auto import Auto, AutoRouter
from orchestrator.serving.doors import Caller
from orchestrator.serving.load import Load
from orchestrator.serving.points import CONFIGURATION_HEADER
from orchestrator.serving.router import NothingFitsError, Router, Wish
from store.releases.release import Configuration, Release, Workload
from tests.orchestrator.serving.texts import workload


@dataclass
class Queue:
    """One server, first come first served; every point takes its seconds, more or less."""

    workload: Workload
    seconds: dict[str, float]
    level: ServiceLevel
    draw: random.Random = field(default_factory=lambda: random.Random(7))
    now: float = 0.0

    def __post_init__(self) -> None:
        self.auto = Auto(self.level, Load(clock=lambda: self.now))
        self.auto.load.know(Release(sweep="simulated", workloads=(self.workload,)))
        self._free_at = 0.0
        self._under_way: list[tuple[float, float, str]] = []

    def offered(self, rate: float, duration: float) -> Iterator[tuple[Configuration, float]]:
        """Points and latencies of requests that come independently, ``rate`` a second."""
        end = self.now + duration
        while (arrival := self.now + self.draw.expovariate(rate)) < end:
            self._answer_until(arrival)
            self.now = arrival
            chosen = self.auto.choose(self.workload, Caller())
            taken = self.seconds[chosen.trial] * self.draw.lognormvariate(0, 0.2)
            self._free_at = max(self._free_at, arrival) + taken
            started = self.auto.load.begin(chosen.trial)
            self._under_way.append((self._free_at, started, chosen.trial))
            yield chosen, self._free_at - arrival
        self._answer_until(end)
        self.now = end

    def _answer_until(self, time: float) -> None:
        while self._under_way and self._under_way[0][0] <= time:
            self.now, started, trial = self._under_way.pop(0)
            self.auto.load.end(trial, started)


def frontier(release: Release, qualities: Sequence[float]) -> Workload:
    """A workload with one point for each quality, cheaper by a half from point to point."""
    base = workload(release, "digits").configurations[0]
    points = [
        base.model_copy(
            update={
                "trial": f"{number:016x}",
                "measured": base.measured.model_copy(
                    update={"quality": quality, "flops": 0.5**number}
                ),
            }
        )
        for number, quality in enumerate(qualities)
    ]
    return workload(release, "digits").model_copy(update={"configurations": tuple(points)})


def p99(latencies: Sequence[float]) -> float:
    return sorted(latencies)[int(0.99 * len(latencies))]


def halving(served: Workload, slowest: float) -> dict[str, float]:
    return {c.trial: slowest * 0.5**n for n, c in enumerate(served.configurations)}


@settings(max_examples=15, deadline=None, derandomize=True, database=None)
@given(
    slowest=st.floats(0.002, 0.5),
    objective=st.floats(10, 100),
    overload=st.floats(1, 3),
    floor=st.integers(2, 3),
)
def test_three_times_the_load_is_answered_in_time_and_above_the_floor(
    release, slowest, objective, overload, floor
) -> None:
    served = frontier(release, [0.9, 0.8, 0.7, 0.6])
    level = ServiceLevel(
        latency_ms=slowest * objective * 1000, min_quality=served.configurations[floor].quality
    )
    queue = Queue(served, halving(served, slowest), level)
    sustainable = 1 / slowest
    for rate in (0.5 * sustainable, overload * sustainable, 0.5 * sustainable):
        answers = list(queue.offered(rate, 1500 * slowest))
        chosen = [configuration.quality for configuration, _ in answers]
        assert min(chosen) >= level.min_quality
        assert p99([latency for _, latency in answers]) <= slowest * objective
    assert chosen[len(chosen) // 2 :].count(0.9) > 0.95 * (len(chosen) // 2)  # it is back


def test_as_much_quality_as_the_load_leaves_is_given(release) -> None:
    served = frontier(release, [0.9, 0.8, 0.7, 0.6])
    level = ServiceLevel(latency_ms=400)
    mean = {}
    for overload in (0.5, 1.5, 3.0):
        queue = Queue(served, halving(served, 0.02), level)
        answers = list(queue.offered(overload / 0.02, 60))
        mean[overload] = sum(c.quality for c, _ in answers) / len(answers)
    assert mean[0.5] > 0.895
    assert mean[0.5] > mean[1.5] > mean[3.0]
    assert mean[1.5] > 0.8  # with two points one answers 1.5 times the load at 0.85
    assert mean[3.0] > 0.65


def test_more_than_the_cheapest_can_do_is_still_answered_by_the_cheapest(release) -> None:
    served = frontier(release, [0.9, 0.8, 0.7])
    queue = Queue(served, halving(served, 0.02), ServiceLevel(latency_ms=200, min_quality=0.8))
    answers = [c.quality for c, _ in queue.offered(4 / 0.02, 20)]
    assert answers[-500:].count(0.8) == 500


def test_without_a_promise_the_best_point_answers_whatever_the_load(release) -> None:
    served = frontier(release, [0.9, 0.8])
    queue = Queue(served, halving(served, 0.02), ServiceLevel(min_quality=0.85))
    assert {c.quality for c, _ in queue.offered(3 / 0.02, 5)} == {0.9}


def test_a_floor_that_nothing_reaches_is_refused(release) -> None:
    served = frontier(release, [0.9, 0.8])
    with pytest.raises(NothingFitsError, match=r"quality >= 0\.95"):
        Auto(ServiceLevel(min_quality=0.95)).choose(served, Caller())


def test_a_minimised_quality_with_a_floor_stays_at_its_best(release) -> None:
    texts = workload(release, "bytes")
    auto = Auto(ServiceLevel(latency_ms=0.001, min_quality=0.5))
    auto.load.know(release)
    assert auto.choose(texts, Caller()) == min(texts.configurations, key=lambda c: c.quality)


def test_who_names_a_budget_or_a_point_is_asked_for_nothing(release) -> None:
    served = frontier(release, [0.9, 0.8])
    simulated = Release(sweep="simulated", workloads=(served,))
    auto = Auto(ServiceLevel(latency_ms=0.001))  # nothing can be in time
    auto.load.know(simulated)
    router, rule = AutoRouter(Router(simulated), auto), Router(simulated)
    best, fast = served.configurations
    for wish in (Wish(max_cost=1.0), Wish(min_quality=0.9), Wish(configuration=best.trial)):
        assert router.route(wish) == rule.route(wish)
        assert router.route(wish).configuration == best
    assert router.route(Wish()).configuration == fast


def test_a_points_seconds_are_its_share_of_the_time_the_models_were_busy(release) -> None:
    now = 0.0
    load, served = Load(clock=lambda: now), frontier(release, [0.9, 0.8])
    slow, fast = (c.trial for c in served.configurations)
    load.know(Release(sweep="simulated", workloads=(served,)))
    assert load.seconds(fast) == load.seconds(slow) / 2
    for _ in range(100):
        started = [load.begin(slow) for _ in range(4)]
        assert load.backlog == pytest.approx(4 * load.seconds(slow))
        now += 2.0
        for start in started:  # one forward pass for all four
            load.end(slow, start)
        now += 7.0  # nobody asks
    assert load.seconds(slow) == pytest.approx(0.5, rel=0.1)
    assert load.seconds(fast) == pytest.approx(0.25, rel=0.1)  # never asked
    load.end(slow, load.begin(slow), is_answered=False)
    assert load.seconds(slow) == pytest.approx(0.5, rel=0.1)
    assert load.backlog == 0


def test_what_slows_one_point_down_slows_all_and_each_keeps_its_place(release) -> None:
    now = 0.0
    load, served = Load(clock=lambda: now), frontier(release, [0.9, 0.8])
    slow, fast = (c.trial for c in served.configurations)
    load.know(Release(sweep="simulated", workloads=(served,)))

    def ask(trial: str, seconds: float) -> None:
        nonlocal now
        started = load.begin(trial)
        now += seconds
        load.end(trial, started)

    for _ in range(200):
        ask(slow, 0.08)
        ask(fast, 0.02)
    before = load.seconds(slow)
    assert before == pytest.approx(0.08, rel=0.1)
    for _ in range(100):
        ask(fast, 0.1)  # somebody else needs the machine
    assert load.seconds(slow) > 3 * before
    assert load.usual_seconds(fast) < load.usual_seconds(slow) / 2


def test_each_tenant_has_the_level_of_its_key(guarded, release) -> None:
    url, keys = guarded
    hurried = keys.add("hurried", 600, level=ServiceLevel(latency_ms=0.001))  # nothing is in time
    particular = keys.add("particular", 600, level=ServiceLevel(latency_ms=0.001, min_quality=1))

    def ask(secret: str, name: str) -> httpx.Response:
        body = {"workload": name, "inputs": {"example": 1}}
        headers = {"authorization": f"Bearer {secret}"}
        return httpx.post(f"{url}/v1/predict", json=body, headers=headers, timeout=60)

    best = Router(release).route(Wish("bytes")).configuration.trial
    (fast,) = {c.trial for c in workload(release, "bytes").configurations} - {best}
    for secret, trial in ((keys.add("any", 600), best), (hurried, fast)):
        assert ask(secret, "bytes").headers[CONFIGURATION_HEADER] == trial
    assert ask(particular, "digits").status_code == 422
