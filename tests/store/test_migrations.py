from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from store import migrations
from store.database import Database
from store.models import Base
from store.repository import Store
from sweeps.trial import MeasureSpec
from tests.store.examples import begin, failed, finished, metrics, spec


def test_migrations_lead_to_the_models(empty_url: str) -> None:
    with Database(empty_url).write():
        pass
    engine = create_engine(empty_url)

    def ours(name: Any, kind: str, _: Any) -> bool:
        return kind != "table" or name in Base.metadata.tables

    options = {"include_name": ours, "compare_type": True}
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []
        assert migrations.revision(connection) == migrations.HEAD
    engine.dispose()


def test_the_newest_revision_is_the_head() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations.__path__[0]))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [migrations.HEAD]


def test_processes_that_connect_first_at_once_all_succeed(empty_url: str) -> None:
    script = (
        "import sys; from store.database import Database\n"
        "with Database(sys.argv[1]).write(): print('in')"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, empty_url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    answers = [process.communicate() for process in processes]
    assert answers == [("in\n", "")] * 3


def test_tables_of_a_newer_paretoken_are_refused(store: Store) -> None:
    with Database(store.url).write():
        pass
    engine = create_engine(store.url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE paretoken_alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(ValueError, match="a newer Paretoken wrote this store"):
        store.sweeps()


def test_results_of_an_older_version_are_kept(empty_url: str) -> None:
    trial = spec()
    with Store(empty_url) as store:
        begin(store, [trial])
        store.record([finished(trial)])
    _downgrade(empty_url, "0001")
    with Store(empty_url) as store:
        (point,) = store.points("quickstart")
        assert store.finished([trial.id]) == {trial.id}
    assert point.metrics["quality"] == metrics().quality
    assert (point.metrics["weights"], point.metrics["attended"]) == (1.0, None)
    assert point.simulated == frozenset()


def test_what_an_older_version_cannot_hold_is_measured_again(empty_url: str) -> None:
    judged, costs = spec(0), spec(1)
    missing = {"quality": None, "quality_se": None, "compressor_seconds": None}
    with Store(empty_url) as store:
        begin(store, [judged, costs])
        store.record([finished(judged), finished(costs, compressor_share=None, **missing)])
        assert store.metrics(costs.id).quality is None
    _downgrade(empty_url, "0002")
    with Store(empty_url) as store:
        assert store.finished([judged.id, costs.id]) == {judged.id}
        store.record([finished(costs, **missing)])
        assert store.metrics(costs.id).quality is None


def test_attempts_that_an_older_version_recorded_twice_are_there_once(empty_url: str) -> None:
    trial, other = spec(0), spec(1)
    with Store(empty_url) as store:
        begin(store, [trial, other])
        store.record([failed(trial), failed(trial), failed(other)])
    _downgrade(empty_url, "0012")
    engine = create_engine(empty_url)
    columns = "trial_id, state, started_at, seconds, worker, failure, error, environment_id"
    with engine.begin() as connection:
        twice = f"SELECT {columns} FROM paretoken_attempts WHERE trial_id = '{trial.id}'"
        connection.execute(text(f"INSERT INTO paretoken_attempts ({columns}) {twice}"))
    engine.dispose()
    with Store(empty_url) as store:
        assert {f.trial: f.attempts for f in store.failures("quickstart")} == {
            trial.id: 2,
            other.id: 1,
        }


def test_times_of_an_older_version_are_kept_and_not_believed(empty_url: str) -> None:
    """Columns of the measurement then; now timings that were taken while other trials ran."""
    batched = spec(0).model_copy(update={"measure": MeasureSpec(latency_batch=4)})
    costs = spec(1)
    missing = {"compressor_seconds": None, "compressor_share": None}
    with Store(empty_url) as store:
        begin(store, [batched, costs])
        store.record([failed(batched), finished(batched), finished(costs, **missing)])
    _downgrade(empty_url, "0004")
    _change(empty_url, f"SET latency = 0.75, latency_seconds = 0.002 WHERE trial_id='{batched.id}'")
    with Store(empty_url) as store:
        old, untimed = store.points("quickstart")
        assert store.timed([batched.id, costs.id]) == {}
        numbers = (old.metrics["latency"], old.metrics["latency_seconds"], old.in_lane)
        assert numbers == (0.75, 0.002, False)
        assert old.metrics["compressor_share"] == metrics().compressor_share
        assert "latency" in old.outside_lane
        assert (untimed.metrics["latency"], untimed.device) == (None, None)
        assert store.points("quickstart", batch=4)[0].metrics["latency"] == 0.75
    _downgrade(empty_url, "0004")  # and back again
    _change(empty_url, "SET latency_high = latency + 1")
    with Store(empty_url) as store:
        found = [point.metrics["latency_high"] for point in store.points("quickstart")]
        assert found == [1.75, None]


def _change(url: str, assignments: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE paretoken_measurements {assignments}"))
    engine.dispose()


def _downgrade(url: str, revision: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(migrations.__path__[0]))
        config.set_main_option("path_separator", "os")
        command.downgrade(config, revision)
    engine.dispose()
