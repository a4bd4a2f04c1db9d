"""Times: every repetition is kept, the newest in the lane counts, and no other is believed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from dashboards.rows import rows_of
from store.frontiers.frontier import frontier, select
from store.mirror.mlflow_mirror import MlflowMirror
from store.questions import answers
from store.questions.asked import BestQuestion
from store.questions.untimed import untimed
from store.releases.release import release_of
from store.repository import Store
from sweeps.times import TIME_METRICS, Times
from sweeps.timing import TimingResult
from sweeps.trial import FailureKind, MeasureSpec, TrialSpec
from tests.store.examples import STARTED, finished, spec, timed

BY_LATENCY: dict[str, Any] = {"quality": "maximize", "latency": "minimize"}


def timing(trial: TrialSpec, latency: float, minutes: int = 1, **changes: Any) -> TimingResult:
    times = Times(latency=latency, latency_low=latency, latency_high=latency, latency_pairs=9)
    result = replace(
        timed(trial, times, in_lane=True),
        started_at=STARTED + timedelta(minutes=minutes),
        conditions={"load": [0.1, 0.2, 0.3]},
        environment={"torch": "2.13.0", "threads": 1},
    )
    return replace(result, **changes)


def begin(store: Store, trials: list[TrialSpec], **measure: Any) -> None:
    objectives = {"workloads": {"digits": {"objectives": {**BY_LATENCY, "flops": "minimize"}}}}
    asked = {"measure": MeasureSpec(**measure).model_dump(mode="json")}
    planned = [("digits", "2x", trial) for trial in trials]
    store.begin_sweep("q", "name: q\n", {"name": "q", **objectives, **asked}, planned, [])


def latency(store: Store, batch: int | None = None) -> tuple[float | None, bool]:
    [point] = store.points("q", batch=batch)
    value = point.metrics["latency"]
    return value, point.in_lane


def test_the_newest_timing_in_the_lane_counts(store: Store) -> None:
    trial = spec()
    begin(store, [trial])
    store.record([finished(trial)])
    assert latency(store) == (None, False)
    outside = timing(trial, 0.1, in_lane=False)
    store.record([outside])
    assert latency(store) == (0.1, False)
    store.record([timing(trial, 0.7, 2), timing(trial, 0.6, 3)])
    store.record([timing(trial, 0.6, 3), outside])  # once more after a crash: nothing changes
    assert latency(store) == (0.6, True)
    store.record([timing(trial, 0.2, 4, in_lane=False), timing(trial, 0.3, 5, batch=1)])
    assert latency(store) == (0.6, True)
    assert latency(store, batch=1) == (0.3, True)
    store.record([timing(trial, 0.4, 6, disturbed=("others used 2 cores",))])
    assert latency(store) == (0.6, True)  # a quiet one is better than a newer one
    assert store.metrics(trial.id).latency == 0.6
    assert store.timed([trial.id]) == {(trial.id, 8): 9, (trial.id, 1): 9}
    assert number_of_timings(store) == 6 + 1  # the trial's own


def number_of_timings(store: Store) -> int:
    engine = create_engine(store.url)
    with engine.connect() as connection:
        number = connection.execute(text("SELECT count(*) FROM paretoken_timings")).scalar_one()
    engine.dispose()
    return int(number)


def test_what_was_timed_while_others_ran_is_on_no_frontier_over_time(store: Store) -> None:
    trials = [spec(number) for number in range(3)]
    begin(store, trials)
    store.record([finished(trial, quality=0.5) for trial in trials])
    store.record([timing(trials[0], 0.1, in_lane=False), timing(trials[1], 0.5)])
    points = store.points("q")
    assert [point.trial for point in frontier(points, BY_LATENCY)] == [trials[1].id]
    assert len(frontier(points, {"quality": "maximize"})) == 3
    assert [point.trial for point in select(points, BY_LATENCY, {"latency": 0.2})] == []
    assert not frontier(points[:1], {"quality": "maximize", "compressor_share": "minimize"})
    rows = rows_of(points, {"digits": BY_LATENCY})
    assert [row.as_json()["in_lane"] for row in rows] == [False, True, False]
    [answer] = answers.ask(store, "q", BestQuestion(of="latency"))
    assert answer["chosen"]["trials"] == [trials[1].id]
    notes = " ".join(answer["notes"])
    assert "not compared by latency: 1 configuration timed while other trials ran" in notes
    assert "1 configuration not timed yet" in notes
    served = release_of(store, "q").workloads[0].configurations
    assert [(each.trial, each.cost("latency")) for each in served] == [(trials[1].id, 0.5)]


def test_answers_say_what_may_have_disturbed_their_times(store: Store) -> None:
    trials = [spec(number) for number in range(2)]
    begin(store, trials)
    store.record([finished(trial) for trial in trials])
    reason = ("other processes used 1.50 of 2 cores",)
    store.record([timing(trials[0], 0.4, disturbed=reason), timing(trials[1], 0.5, device="gpu")])
    [answer] = answers.ask(store, "q", BestQuestion(maximum={"latency": 0.9}))
    notes = " ".join(answer["notes"])
    assert "1 timing may have been disturbed, e.g. other processes used 1.50 of 2 cores" in notes
    assert "times come from 2 devices: gpu, node/cpu" in notes


def test_what_is_to_be_timed_is_what_the_sweep_asks_for_and_the_lane_lacks(store: Store) -> None:
    trials = [spec(number) for number in range(3)]
    begin(store, trials, latency_batch=[8, 1], latency_pairs=9)
    assert untimed(store, "q") == []
    store.record([finished(trial) for trial in trials[:2]])
    store.record([timing(trials[0], 0.5), timing(trials[1], 0.5, batch=1, in_lane=False)])
    failure = {"times": None, "failure": FailureKind.OUT_OF_MEMORY, "error": "no memory"}
    store.record([timing(trials[0], 0.0, 2, batch=1, **failure)])
    ids = [trial.id for trial in trials]
    assert untimed(store, "q") == [(ids[0], 1), (ids[1], 8), (ids[1], 1)]
    [failed] = store.failed_timings("q")
    assert (failed.trial, failed.kind) == (ids[0], FailureKind.OUT_OF_MEMORY)
    assert failed.error == "timed at batch 1: no memory"
    store.record([timing(trials[0], 0.5, 3, batch=1)])
    assert store.failed_timings("q") == []
    [status] = store.sweeps()
    assert (status.finished, status.timed) == (2, 1)
    begin(store, trials, latency_pairs=20)
    assert untimed(store, "q") == [(ids[0], 8), (ids[1], 8)]  # more pairs than there are
    begin(store, trials, latency_pairs=0)
    assert untimed(store, "q") == []


def test_timing_only_the_frontier_times_the_frontier_and_the_baseline(store: Store) -> None:
    trials = [spec(number) for number in range(3)]
    identity = trials[2].method.model_copy(update={"id": "identity"})
    trials[2] = trials[2].model_copy(update={"method": identity})
    begin(store, trials, latency_of="frontier")
    numbers = [(0.9, 0.5), (0.8, 0.6), (0.9, 1.0)]
    store.record(
        [
            finished(trial, quality=quality, flops=flops)
            for trial, (quality, flops) in zip(trials, numbers, strict=True)
        ]
    )
    assert untimed(store, "q") == [(trials[0].id, 8), (trials[2].id, 8)]


def test_mlflow_is_told_once_and_knows_where_times_come_from(mirror_url: str) -> None:
    from mlflow import MlflowClient

    store, trial = Store(mirror_url), spec()
    begin(store, [trial])
    store.record([finished(trial)])
    mirror = MlflowMirror(mirror_url)
    mirror.drain()
    store.record([timing(trial, 0.5, disturbed=("noise",))])
    assert mirror.drain() == 1
    client = MlflowClient(mirror_url)
    experiment = client.get_experiment_by_name("paretoken")
    ids = [experiment.experiment_id]
    [run] = client.search_runs(ids, "tags.kind = 'trial'")
    assert run.data.metrics["latency"] == 0.5
    tags = {name: run.data.tags[name] for name in ("in_lane", "device", "disturbed")}
    assert tags == {"in_lane": "true", "device": "node/cpu", "disturbed": "noise"}
    assert run.info.status == "FINISHED"
    mirror.close()


def test_every_time_has_a_column_and_a_name_for_people(store: Store) -> None:
    times = Times(**dict.fromkeys(TIME_METRICS - {"latency_pairs", "device_bytes"}, 0.5))
    times = times.model_copy(update={"latency_pairs": 9, "device_bytes": 2**40})
    trial = spec()
    begin(store, [trial])
    store.record([finished(trial), timing(trial, 0.0, times=times)])
    assert store.metrics(trial.id).times == times
    [point] = store.points("q")
    assert {name: point.metrics[name] for name in TIME_METRICS} == times.model_dump()


@pytest.mark.parametrize("unknown", ["latency_p99", "energie"])
def test_unknown_times_are_refused(unknown: str) -> None:
    with pytest.raises(ValueError, match="unknown metric"):
        frontier([], {unknown: "minimize"})


def test_a_failed_timing_tells_no_password(store: Store) -> None:
    trial = spec()
    begin(store, [trial])
    store.record([finished(trial)])
    error = "cannot reach postgresql://me:hunter2@db/x"
    store.record([timing(trial, 0, times=None, failure=FailureKind.BUG, error=error)])
    [failure] = store.failed_timings("q")
    assert "postgresql://me:***@db/x" in str(failure)
    assert "hunter2" not in str(failure)


def test_times_that_a_trial_took_of_itself_name_its_device(store: Store) -> None:
    trial = spec()
    begin(store, [trial])
    store.record([replace(finished(trial, latency=0.5), device="node/cuda:0")])
    [point] = store.points("q")
    assert (point.metrics["latency"], point.device) == (0.5, "node/cuda:0")
