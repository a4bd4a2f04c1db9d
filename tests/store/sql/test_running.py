from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from store.repository import Store
from store.sql.leases import Leases, Partner
from tests.store.examples import begin, failed, finished, spec

DRIVER = Partner("d1", "quickstart", "node:7", "machine", "7")


def test_a_run_counts_what_it_did_since_it_began(store: Store) -> None:
    trials = [spec(number) for number in range(5)]
    begin(store, trials)
    store.record([finished(trials[0])])  # before the run: reused by it
    leases = Leases(store.url)
    leases.enter(DRIVER)
    leases.take(DRIVER.id, [(trial.id, 0) for trial in trials[1:]])
    leases.renew(DRIVER.id, [(trial.id, 0) for trial in trials[1:4]])
    now = datetime.now(UTC)
    store.record(
        [
            replace(finished(trials[1]), started_at=now, seconds=3.0),
            replace(failed(trials[2]), started_at=now, seconds=1.0, worker="node:2"),
        ]
    )
    (run,) = store.runs()
    assert (run.sweep, run.driver, run.measured, run.failed) == ("quickstart", "node:7", 2, 1)
    assert (run.workers, run.busy_seconds, run.timed) == (2, 4.0, 0)
    assert run.running == 2  # the failed one may be tried again; trial 4 was never begun
    assert run.utilisation(run.started + timedelta(seconds=4)) == 0.5
    assert run.utilisation(run.started) is None
    leases.leave(DRIVER.id)
    leases.close()
    assert store.runs() == []


def test_a_revision_changes_with_whatever_a_page_shows(store: Store) -> None:
    trials = [spec(number) for number in range(3)]
    begin(store, trials[:2])
    seen = [store.revision("quickstart")]
    assert store.revision("quickstart") == seen[0]
    store.record([finished(trials[0])])
    seen.append(store.revision("quickstart"))
    store.extend_sweep("quickstart", [("digits", "2x", trials[2])])
    seen.append(store.revision("quickstart"))
    store.end_sweep("quickstart", 1.0, None, {})
    seen.append(store.revision("quickstart"))
    assert len(set(seen)) == 4
