"""What one driver measures no other does, as long as it lives, and not longer."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from store.mirror.mlflow_mirror import MlflowMirror
from store.repository import Store
from store.sql.leases import Leases, Partner
from sweeps.failures import FailureKind, Remedy
from sweeps.trial import TrialState
from tests.store.examples import begin, failed, finished, spec


def partner(name: str, sweep: str = "quickstart") -> Partner:
    return Partner(name, sweep, f"host:{name}", "place", "1 1")


@pytest.fixture
def leases(store: Store) -> Iterator[Leases]:
    opened = Leases(store.url)
    yield opened
    opened.close()


def test_drivers_that_ask_at_once_share_everything_and_nothing_twice(leases: Leases) -> None:
    work = [(f"trial-{number:03}", number % 3) for number in range(300)]
    drivers = [str(number) for number in range(4)]
    for driver in drivers:
        leases.enter(partner(driver))
    with ThreadPoolExecutor() as pool:
        taken = list(pool.map(lambda d: leases.take(d, work[int(d) * 50 :]), drivers))
    assert sum(map(len, taken)) == len(set().union(*taken)) == 300
    assert leases.holders(work) == {
        each: driver for driver, own in zip(drivers, taken, strict=True) for each in own
    }
    assert leases.take("0", work) == taken[0]  # what it has, and nothing of the others
    leases.leave("0")
    assert leases.take("1", work) == taken[1] | taken[0]


def test_only_a_beat_that_stood_still_is_buried_and_by_one_alone(
    store: Store, leases: Leases
) -> None:
    trials = [spec(number) for number in range(3)]
    begin(store, trials)
    work = [(trial.id, 0) for trial in trials]
    leases.enter(partner("a"))
    leases.take("a", work)
    [seen] = leases.partners()
    assert leases.renew("a", begun=work[:2])
    assert leases.bury(seen) is None
    store.record([finished(trials[0])])
    [seen] = leases.partners()
    assert leases.bury(seen) == [trials[1].id]
    assert leases.bury(seen) is None
    assert leases.holders(work) == {}
    assert not leases.renew("a")


def test_what_ended_since_is_told_from_what_failed_long_ago(store: Store, leases: Leases) -> None:
    trials = [spec(number) for number in range(6)]
    begin(store, trials)
    store.record([failed(trials[number]) for number in (0, 1, 5)])
    since = leases.last_attempt()
    impossible = failed(trials[4], FailureKind.INFEASIBLE)
    on_its_way = replace(failed(trials[5]), remedy=Remedy.ELSEWHERE)
    store.record([finished(trials[2]), failed(trials[1]), on_its_way])
    store.record([replace(impossible, state=TrialState.INFEASIBLE)])
    assert leases.ended([trial.id for trial in trials], since) == {
        trials[1].id: TrialState.FAILED,
        trials[2].id: TrialState.FINISHED,
        trials[4].id: TrialState.INFEASIBLE,
    }


def test_runs_that_nobody_finishes_are_counted_and_ended(mirror_url: str) -> None:
    mirror, leases = MlflowMirror(mirror_url), Leases(mirror_url)
    with Store(mirror_url) as store:
        for name in ("mine", "left", "alive", "ended"):
            begin(store, [spec()], name)
        store.end_sweep("ended", 1.0, None, {})
        while mirror.drain():
            pass
        store.record([finished(spec())])
    behind = leases.mend_mirror("mine", alive={"alive"})
    assert behind == 2 + 4  # two sweeps, and the trial in all four
    while mirror.drain():
        pass
    assert statuses(mirror_url) == {
        "mine": "RUNNING",
        "left": "FINISHED",
        "alive": "RUNNING",
        "ended": "FINISHED",
    }
    assert leases.mend_mirror("mine", alive={"alive"}) == 1
    mirror.close()
    leases.close()


def statuses(url: str) -> dict[str, str]:
    """Of the sweeps' own runs."""
    from mlflow import MlflowClient

    client = MlflowClient(url)
    experiment = client.get_experiment_by_name("paretoken")
    runs = client.search_runs([experiment.experiment_id])
    return {r.info.run_name: r.info.status for r in runs if "trial_id" not in r.data.tags}
