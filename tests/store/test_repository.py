from __future__ import annotations

import pickle
import sqlite3
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import create_engine, event, func, select

from dashboards.rows import best_rows
from store import serialization
from store.database import StoreUnavailableError
from store.models import Attempt, Base, Environment, OutboxRow
from store.questions.standing import volumes
from store.questions.untimed import untimed
from store.records import METRIC_NAMES, NOT_NUMBERS
from store.repository import Store
from sweeps.failures import Remedy
from sweeps.trial import FailureKind, Metrics, TrialSpec
from tests.store.examples import begin, failed, finished, metrics, spec


def count(store: Store, table: type[Base]) -> int:
    engine = create_engine(store.url)
    with engine.connect() as connection:
        rows = connection.execute(select(func.count()).select_from(table)).scalar_one()
    engine.dispose()
    return rows


def test_a_recorded_trial_comes_back_bit_for_bit(store: Store) -> None:
    trial = spec()
    begin(store, [trial])
    store.record([finished(trial)])
    assert store.metrics(trial.id) == metrics()
    (point,) = store.points("quickstart")
    assert TrialSpec.model_validate(point.spec) == trial
    assert (point.workload, point.trial, point.method) == ("digits", trial.id, "tome")
    assert (point.keep_ratio, point.keep_label) == (0.5, "2x")
    assert (point.schedule, point.seed) == ("one-layer@1", 0)
    assert point.hyperparameters == {"number": 0}
    assert point.tokens_per_layer == [144, 144, 72, 72]
    assert point.metrics == {name: getattr(metrics(), name) for name in METRIC_NAMES}


def test_outcomes_come_back_in_the_tasks_order(store: Store) -> None:
    trial = spec()
    begin(store, [trial])
    store.record([finished(trial)])
    frame = store.outcomes(trial.id)
    assert frame["outcome"].tolist() == finished(trial).outcomes
    assert frame["example"].tolist() == list(range(8))


def test_recording_twice_is_recording_once(store: Store) -> None:
    trial = spec()
    begin(store, [trial])
    for _ in range(2):
        store.record([finished(trial), finished(trial)])
    assert count(store, Attempt) == 1
    assert count(store, OutboxRow) == 2  # the sweep and the trial


def test_a_finished_trial_never_changes(store: Store) -> None:
    trial = spec()
    begin(store, [trial])
    store.record([finished(trial)])
    other = replace(finished(trial), metrics=metrics(quality=0.0), outcomes=[0.0] * 8)
    store.record([other])
    store.record([failed(trial)])
    assert store.metrics(trial.id) == metrics()
    assert store.outcomes(trial.id)["outcome"].tolist() == finished(trial).outcomes
    assert store.failures("quickstart") == []


def test_a_failed_trial_may_finish_later_and_keeps_all_attempts(store: Store) -> None:
    trial = spec()
    begin(store, [trial])
    store.record([failed(trial)])
    store.record([failed(trial, FailureKind.TIMEOUT)])
    assert store.finished([trial.id]) == set()
    (failure,) = store.failures("quickstart")
    assert (failure.trial, failure.kind, failure.attempts) == (trial.id, FailureKind.TIMEOUT, 2)
    store.record([finished(trial)])
    assert store.finished([trial.id]) == {trial.id}
    assert store.failures("quickstart") == []
    assert count(store, Attempt) == 3


def test_a_batch_is_recorded_whole_or_not_at_all(store: Store) -> None:
    planned, unplanned = spec(0), spec(1)
    begin(store, [planned])
    with pytest.raises(ValueError, match=f"no sweep has planned trial '{unplanned.id}'"):
        store.record([finished(planned), finished(unplanned)])
    assert store.points("quickstart") == []
    assert count(store, Attempt) == 0


@pytest.mark.parametrize("table", ["attempts", "measurements", "outcomes", "outbox"])
def test_a_crash_while_recording_leaves_no_trace(store: Store, table: str) -> None:
    trial = spec()
    begin(store, [trial])
    with failing_inserts(store, table), pytest.raises(RuntimeError, match="pulled the plug"):
        store.record([finished(trial)])
    assert store.finished([trial.id]) == set()
    assert count(store, Attempt) == 0
    store.record([finished(trial)])
    assert store.metrics(trial.id) == metrics()


def test_ten_threads_that_record_the_same_trials_record_them_once(store: Store) -> None:
    trials = [spec(number) for number in range(20)]
    begin(store, trials)
    results = [finished(trial) for trial in trials]
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(store.record, [results, results[::-1]] * 5))
    assert count(store, Attempt) == 20
    assert count(store, OutboxRow) == 21


def test_an_attempt_that_a_killed_writer_records_again_is_there_once(store: Store) -> None:
    trial = spec()
    begin(store, [trial])
    interim = replace(failed(trial), remedy=Remedy.AGAIN)
    for _ in range(2):
        store.record([interim])
    last = failed(trial)
    for _ in range(2):
        store.record([last])
    assert count(store, Attempt) == 2
    (failure,) = store.failures("quickstart")
    assert failure.attempts == 2


def test_counts_are_of_the_current_plan(store: Store) -> None:
    trials = [spec(number) for number in range(4)]
    begin(store, trials)
    store.record([finished(trials[0]), failed(trials[1]), finished(trials[2])])
    reasons = [{"method": "evit", "reason": "the model has no class token"}]
    plan = [("digits", "2x", trial) for trial in trials[1:]]
    store.begin_sweep("quickstart", "name: quickstart", {"a": 1}, plan, reasons)
    store.end_sweep("quickstart", 12.5, 0.97, {"measured": 2})
    (status,) = store.sweeps()
    assert (status.planned, status.finished, status.failed, status.impossible) == (3, 1, 1, 1)
    assert (status.seconds, status.utilisation) == (12.5, 0.97)
    assert status.created < status.updated
    assert status.created.utcoffset() is not None
    assert [point.trial for point in store.points("quickstart")] == [trials[2].id]
    assert store.impossible("quickstart") == reasons
    assert store.spec("quickstart") == {"a": 1}


def test_a_sweep_finds_what_another_sweep_finished(store: Store) -> None:
    trial = spec()
    begin(store, [trial], "first")
    store.record([finished(trial)])
    begin(store, [trial], "second")
    assert [point.trial for point in store.points("second")] == [trial.id]
    assert [status.name for status in store.sweeps()] == ["second", "first"]


def test_points_follow_the_plan_and_the_workload(store: Store) -> None:
    trials = [spec(number) for number in range(3)]
    plan = [("b", "2x", trials[2]), ("a", "0.5", trials[0]), ("b", "0.5", trials[1])]
    store.begin_sweep("quickstart", "", {}, plan, [])
    store.record([finished(trial) for trial in trials])
    assert [point.trial for point in store.points("quickstart")] == [t.id for _, _, t in plan]
    assert [point.keep_label for point in store.points("quickstart", "b")] == ["2x", "0.5"]


def test_names_that_do_not_exist_are_answered_with_the_nearest(store: Store) -> None:
    begin(store, [spec()])
    with pytest.raises(ValueError, match="unknown sweep 'quickstrat'; did you mean 'quickstart'"):
        store.points("quickstrat")
    with pytest.raises(ValueError, match="unknown workload 'digit'; did you mean 'digits'"):
        store.points("quickstart", "digit")
    with pytest.raises(ValueError, match=f"{spec().id}' has not finished"):
        store.outcomes(spec().id)


def test_a_workload_of_which_nothing_can_run_has_no_points(store: Store) -> None:
    objectives = {"quality": "maximize", "flops": "minimize"}
    workloads = {name: {"objectives": objectives} for name in ("digits", "impossible")}
    spec_of_file = {"workloads": workloads, "measure": {"latency_pairs": 1}}
    trial = spec()
    store.begin_sweep("quickstart", "", spec_of_file, [("digits", "2x", trial)], [])
    store.record([finished(trial)])
    assert store.points("quickstart", "impossible") == []
    assert store.candidates("quickstart", objectives, "impossible") == {}
    assert [row.point.workload for row in best_rows(store, "quickstart")] == ["digits"]
    assert [*volumes(store, "quickstart")] == ["digits"]
    assert untimed(store, "quickstart") == [(trial.id, 8)]
    with pytest.raises(ValueError, match="unknown workload 'imposible'; did you mean 'impossible'"):
        store.points("quickstart", "imposible")


def test_more_trials_than_one_statement_takes(store: Store) -> None:
    trials = [spec(seed=seed) for seed in range(10_500)]
    begin(store, trials)
    store.record([finished(trials[0])])
    assert store.finished(trial.id for trial in trials) == {trials[0].id}
    (status,) = store.sweeps()
    assert (status.planned, status.finished) == (10_500, 1)


def test_equal_environments_are_kept_once(store: Store) -> None:
    trials = [spec(number) for number in range(3)]
    begin(store, trials)
    store.record([finished(trial) for trial in trials])
    assert count(store, Environment) == 1


def test_a_store_travels_as_its_url(store: Store) -> None:
    begin(store, [spec()])
    copy = pickle.loads(pickle.dumps(store))
    assert copy.url == store.url
    assert copy.sweeps() == store.sweeps()
    copy.close()


def test_a_relative_file_stays_the_same_from_another_directory(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(str(tmp_path))
    store = Store("sqlite:///results.db")
    assert store.url == f"sqlite:///{tmp_path}/results.db"


def test_passwords_stay_out_of_representations_and_errors() -> None:
    password = "hunter" + "2"  # tracebacks quote this line
    store = Store(f"postgresql://me:{password}@127.0.0.1:9/results?connect_timeout=1")
    assert (
        repr(store) == "Store('postgresql+psycopg://me:***@127.0.0.1:9/results?connect_timeout=1')"
    )
    with pytest.raises(StoreUnavailableError) as error:
        store.sweeps()
    assert "cannot open postgresql+psycopg://me:***@127.0.0.1:9/results" in str(error.value)
    assert password not in "".join(traceback.format_exception(error.value))


def test_a_file_that_is_no_database_is_named(tmp_path: object) -> None:
    file = f"{tmp_path}/notes.txt"
    with open(file, "w") as notes:
        notes.write("not a database, and long enough to be sure of it. " * 100)
    with pytest.raises(
        StoreUnavailableError, match=r"cannot open sqlite:////.*notes\.txt: file is not"
    ):
        Store(f"sqlite:///{file}").sweeps()


def test_every_metric_has_a_column(store: Store) -> None:
    begin(store, [spec()])
    store.record([finished(spec())])
    assert set(METRIC_NAMES) | NOT_NUMBERS == set(Metrics.model_fields)
    assert store.metrics(spec().id).model_dump() == metrics().model_dump()


def test_sqlite_is_readable_with_plain_sql(tmp_path: object) -> None:
    store = Store(f"sqlite:///{tmp_path}/x.db")
    begin(store, [spec()])
    store.record([finished(spec())])
    store.close()
    with sqlite3.connect(f"{tmp_path}/x.db") as connection:
        query = "SELECT method, state, quality FROM paretoken_trials JOIN paretoken_measurements"
        assert connection.execute(f"{query} ON id = trial_id").fetchall() == [
            ("tome", "finished", 0.1 + 0.2)
        ]
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_workloads_and_objectives_keep_the_order_of_the_file(store: Store) -> None:
    objectives = {"quality": "maximize", "weights": "minimize", "flops": "minimize"}
    workloads = {"b": {"objectives": objectives}, "a": {"objectives": objectives}}
    store.begin_sweep("quickstart", "", {"workloads": workloads}, [], [])
    stored = store.objectives("quickstart")
    assert [*stored] == ["b", "a"]
    assert [*stored["b"]] == [*objectives]


def test_equal_values_have_equal_digests_and_nothing_unwritable_is_written() -> None:
    assert serialization.digest({"b": 1, "a": [1.5]}) == serialization.digest({"a": [1.5], "b": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        serialization.to_json({"a": float("nan")})


@contextmanager
def failing_inserts(store: Store, table: str) -> Iterator[None]:
    """Die just before rows reach ``table``."""
    engine = store._database.engine

    def pull_the_plug(_c: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith(f"INSERT INTO paretoken_{table} "):
            raise RuntimeError("pulled the plug")

    event.listen(engine, "before_cursor_execute", pull_the_plug)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", pull_the_plug)


def test_a_look_at_a_missing_file_finds_nothing_and_makes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "not" / "there.db"
    with Store(f"sqlite:///{file}") as store:
        assert store.sweeps() == []
        assert store.finished(["0fcc6b31fee0fd09"]) == set()
        assert store.planned_trials("quickstart") is None
        with pytest.raises(ValueError, match=f"no sweep in sqlite:///{file}"):
            store.points("quickstart")
        assert not file.parent.exists()
        trial = spec()
        begin(store, [trial])
        store.record([finished(trial)])
        assert [point.trial for point in store.points("quickstart")] == [trial.id]
    assert file.exists()


def test_words_that_no_database_takes_lose_no_result(store: Store) -> None:
    good, bad = spec(0), spec(1)
    begin(store, [good, bad])
    wrong = replace(failed(bad), error="cannot open 'caf\udce9\0.png'")
    store.record([finished(good), wrong])
    assert store.finished([good.id, bad.id]) == {good.id}
    (failure,) = store.failures("quickstart")
    assert failure.error == r"cannot open 'caf\udce9\0.png'"
