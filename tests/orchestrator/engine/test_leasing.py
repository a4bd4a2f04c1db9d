"""Drivers that share a store: who runs what, who waits, and who takes over from whom."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Collection
from contextlib import ExitStack, closing
from functools import partial
from subprocess import PIPE
from threading import Event, Timer

import pytest

from orchestrator.engine import leasing, processes
from orchestrator.engine.leasing import Leasing, Watch
from store.repository import Store
from store.sql.leases import Leases, Partner, Work
from sweeps.timing import TimingSpec
from sweeps.trial import FailureKind, TrialState
from tests.store.examples import begin, failed, finished, spec

TRIALS = [spec(number) for number in range(6)]
IDS = [trial.id for trial in TRIALS]

HOLDER = """
import sys, time
from orchestrator.engine.leasing import Leasing
from store.repository import Store
from tests.store.examples import spec
with Leasing(Store(sys.argv[1]), "quickstart") as leases:
    taken = leases.take([spec(number) for number in range(4)])
    for trial in taken[:2]:
        leases.begin(trial.id)
    time.sleep(1.5)
    print(len(taken), flush=True)
    time.sleep(600)
"""

ELSEWHERE = "another machine"
JUMPY = f"""
import datetime, sys, time
import pandas  # compiled, it takes no other class for a datetime
true_time, offset = time.time, 0.0
time.time = lambda: true_time() + offset
class Clock(datetime.datetime):
    __slots__ = ()
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(time.time(), tz)
datetime.datetime = Clock
from dataclasses import replace
from orchestrator.engine import leasing, processes
from store.repository import Store
from tests.store.examples import finished, spec
leasing.RENEW_SECONDS = 0.1
processes.place = lambda: {ELSEWHERE!r}
with Store(sys.argv[1]) as store, leasing.Leasing(store, "quickstart") as leases:
    trials = leases.take([spec(number) for number in range(4)])
    for trial in trials:
        leases.begin(trial.id)
    print(len(trials), flush=True)
    for trial, line in zip(trials, sys.stdin):
        offset += float(line)
        store.record([replace(finished(trial), started_at=Clock.now(datetime.UTC))])
        print(len(leases.look().dead.drivers), flush=True)
"""
"""A driver of which only the beat is seen. It reads seconds, by which its wall clock jumps; after
each jump it ends a trial and looks at the others."""
DAY = 86_400.0


@pytest.fixture
def planned(store: Store) -> Store:
    begin(store, TRIALS)
    return store


def driver(stack: ExitStack, store: Store) -> Leasing:
    return stack.enter_context(Leasing(store, "quickstart"))


def test_what_another_driver_holds_is_waited_for_and_adopted(planned: Store) -> None:
    with ExitStack() as stack:
        first, second = driver(stack, planned), driver(stack, planned)
        assert first.take(TRIALS[:4]) == TRIALS[:4]
        assert second.take(TRIALS) == TRIALS[4:]
        assert second.waiting.keys() == set(IDS[:4])
        assert second.awaited((trial, 0) for trial in IDS).startswith("4 by ")
        assert second.look().results == []
        planned.record([finished(TRIALS[0], quality=0.25), failed(TRIALS[1])])
        won, lost = sorted(second.look().results, key=lambda result: result.state, reverse=True)
        assert (won.trial_id, won.state) == (IDS[0], TrialState.FINISHED)
        assert won.metrics is not None
        assert won.metrics.quality == 0.25
        assert (lost.trial_id, lost.failure) == (IDS[1], FailureKind.WORKER_DIED)
        assert second.waiting.keys() == set(IDS[2:4])


def test_what_a_driver_gives_back_is_free_and_what_it_finished_is_not_run_again(
    planned: Store,
) -> None:
    with ExitStack() as stack:
        second = driver(stack, planned)
        with Leasing(planned, "quickstart") as first:
            first.take(TRIALS)
            assert second.take(TRIALS[:3]) == []
            planned.record([finished(TRIALS[0]), finished(TRIALS[3])])
        assert second.take(TRIALS[3:5]) == [TRIALS[4]]
        news = second.look()
        assert {result.trial_id for result in news.results} == {IDS[0], IDS[3]}
        assert news.ours == TRIALS[1:3]
        assert not second.waiting


def test_timings_are_leased_apart_from_their_trials(planned: Store) -> None:
    timings = [TimingSpec(TRIALS[0], batch) for batch in (2, 8)]
    with ExitStack() as stack:
        first, second = driver(stack, planned), driver(stack, planned)
        first.take(TRIALS)
        assert second.take_timing(timings[0])
        assert [first.take_timing(timing) for timing in timings] == [False, True]
        work = [(IDS[0], 2), (IDS[0], 8)]
        assert first.elsewhere(work) == {work[0]}
        assert second.elsewhere(work) == {work[1]}


def test_a_killed_driver_of_this_machine_is_found_dead_at_once(planned: Store) -> None:
    command = [sys.executable, "-c", HOLDER, planned.url]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process,
        Leasing(planned, "quickstart") as second,
    ):
        assert process.stdout is not None
        assert process.stdout.readline() == "4\n"
        assert second.clear_up().drivers == []
        assert second.take(TRIALS) == TRIALS[4:]
        process.kill()
        process.wait()
        news = second.look()
        assert [name.rpartition(":")[2] for name in news.dead.drivers] == [str(process.pid)]
        assert news.dead.in_flight == set(IDS[:2])
        assert news.ours == TRIALS[:4]


def test_a_driver_that_was_taken_for_dead_keeps_what_is_free_and_drops_the_rest(
    planned: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leasing, "RENEW_SECONDS", 0.2)
    leases = Leases(planned.url)
    with ExitStack() as stack:
        stopped = driver(stack, planned)
        stopped.take(TRIALS)
        stack.callback(leases.close)
        leases.enter(Partner("other", "quickstart", "elsewhere:1", "there", "1 1"))
        while stopped.still_ours(TRIALS) == TRIALS:
            for partner in leases.partners():
                if partner.id != "other" and leases.bury(partner) is not None:
                    leases.take("other", [(IDS[1], 0)])
        assert stopped.still_ours(TRIALS) == [TRIALS[0], *TRIALS[2:]]
        stopped.look()
        assert stopped.waiting.keys() == {IDS[1]}
        stopped.settle(IDS[1])
        assert not stopped.waiting


def bury_all(leases: Leases) -> None:
    """As others do when a driver was stopped for too long."""
    for partner in leases.partners():
        assert leases.bury(partner) is not None


def test_a_driver_that_was_buried_and_does_not_know_takes_its_next_trials(planned: Store) -> None:
    with closing(Leases(planned.url)) as leases, ExitStack() as stack:
        stopped = driver(stack, planned)
        stopped.take(TRIALS[:2])
        bury_all(leases)
        leases.enter(Partner("other", "quickstart", "elsewhere:1", "there", "1 1"))
        leases.take("other", [(trial, 0) for trial in IDS[1:3]])
        assert stopped.take(TRIALS[2:]) == TRIALS[3:]
        assert stopped.still_ours(TRIALS[:2]) == [TRIALS[0]]
        assert stopped.elsewhere((trial, 0) for trial in IDS) == {(IDS[1], 0), (IDS[2], 0)}


def test_a_lost_lease_on_what_had_ended_is_not_waited_for(planned: Store) -> None:
    with closing(Leases(planned.url)) as leases, ExitStack() as stack:
        stopped = driver(stack, planned)
        planned.record([finished(TRIALS[0])])
        assert stopped.take(TRIALS[:1]) == []
        assert [result.trial_id for result in stopped.look().results] == IDS[:1]
        bury_all(leases)
        leases.enter(Partner("other", "quickstart", "elsewhere:1", "there", "1 1"))
        leases.take("other", [(IDS[0], 0)])
        assert stopped.take(TRIALS[1:2]) == TRIALS[1:2]  # it learns here what it has lost
        assert stopped.look().results == []
        assert not stopped.waiting


def test_a_renewal_that_lands_after_the_end_takes_nothing_back(
    planned: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leasing, "RENEW_SECONDS", 0.1)
    under_way, ended, renew = Event(), Event(), Leases.renew

    def slowly(leases: Leases, driver_id: str, begun: Collection[Work] = ()) -> bool:
        under_way.set()
        ended.wait()
        return renew(leases, driver_id, begun)

    monkeypatch.setattr(Leases, "renew", slowly)
    with closing(Leases(planned.url)) as leases:
        with Leasing(planned, "quickstart") as first:
            first.take(TRIALS)
            under_way.wait()
        ended.set()
        first._keeper.join()
        assert leases.partners() == []


def test_drivers_of_the_same_sweep_are_outwaited_until_one_shows_life(
    planned: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leasing, "Watch", partial(Watch, seconds=1.0))
    monkeypatch.setattr(leasing, "LOOK_SECONDS", 0.1)
    with closing(Leases(planned.url)) as leases, ExitStack() as stack:
        second = driver(stack, planned)
        leases.enter(Partner("silent", "quickstart", "silent:1", ELSEWHERE, "1 1"))
        assert second.outwait().drivers == ["silent:1"]
        alive = Partner("alive", "quickstart", "alive:1", ELSEWHERE, "1 1")
        leases.enter(alive)
        Timer(0.3, leases.renew, [alive.id]).start()
        assert second.outwait().drivers == []
        assert alive.id in {each.id for each in leases.partners()}


def test_silence_is_counted_on_a_clock_of_our_own() -> None:
    def at(beat: int) -> list[Partner]:
        return [Partner("a", "s", "n", "p", "1 1", beat)]

    watch = Watch(seconds=10.0)
    assert not any(watch.silent(at(beat=now), float(now)) for now in range(0, 60))
    assert [now for now in range(60, 80) if watch.silent(at(beat=59), float(now))] == [
        *range(69, 80)
    ]
    assert watch.silent(at(beat=60), 80.0) == []
    # Away for an hour: the others may have been away as well, and get the time to say so.
    assert watch.silent(at(beat=60), 3700.0) == []
    assert watch.silent(at(beat=61), 3701.0) == []


def test_a_driver_whose_clock_jumps_is_not_buried_and_when_it_dies_not_waited_for_longer(
    planned: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leasing, "Watch", partial(Watch, seconds=1.0))
    command = [sys.executable, "-c", JUMPY, planned.url]
    with (
        closing(Leases(planned.url)) as leases,
        subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True) as process,
        Leasing(planned, "quickstart") as second,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "4\n"
        assert second.take(TRIALS) == TRIALS[4:]
        for seconds, trial in zip((DAY, -2 * DAY, 2 * DAY), IDS, strict=False):
            print(seconds, file=process.stdin, flush=True)
            assert process.stdout.readline() == "0\n"
            wait_for_two_beats(leases)
            news = second.look()
            assert (news.dead.drivers, [each.trial_id for each in news.results]) == ([], [trial])
        process.kill()
        process.wait()
        while not (news := second.look()).dead.drivers:
            time.sleep(0.05)
        assert (news.dead.in_flight, news.ours) == ({IDS[3]}, [TRIALS[3]])


def wait_for_two_beats(leases: Leases) -> None:
    """Of the driver elsewhere; the second began after this was called."""

    def beat() -> int:
        return next(each.beat for each in leases.partners() if each.place == ELSEWHERE)

    first = beat()
    while beat() < first + 2:
        time.sleep(0.05)


def test_a_process_is_known_dead_only_for_certain() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    who = processes.process(process.pid)
    assert not processes.has_ended(processes.place(), who)
    process.kill()
    process.wait()
    assert processes.has_ended(processes.place(), who)
    assert not processes.has_ended("another machine", who)
    number, started = processes.process().split()
    assert processes.has_ended(processes.place(), f"{number} {int(started) + 1}")
    assert not processes.has_ended(processes.place(), f"{number} {started}")
