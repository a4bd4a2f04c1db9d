"""A short form of the matrix: one sweep that loses a process of each kind, and then its driver.

Another driver of the same sweep has shared it all the while, and goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from store.repository import Store
from tests.postgres import MortalServer, mortal
from tests.store.examples import begin, finished, spec
from tests.torture.battlefield import PATIENCE_SECONDS, Battlefield, ended, wait_until
from tests.torture.kill_matrix import Campaign, instants
from tests.torture.victims import DatabaseServer, OneProcess, Twin

SEED = 3


@pytest.fixture(scope="module")
def server() -> Iterator[MortalServer]:
    with mortal() as started:
        yield started


@pytest.mark.timeout(3 * PATIENCE_SECONDS)
def test_a_sweep_that_loses_worker_writer_database_and_driver_ends_in_its_twin_as_if_nothing_were(
    server: MortalServer, tmp_path: Path, llama_folder: Path
) -> None:
    field = Battlefield(tmp_path / "field", llama_folder, server.url(server.create()), num_seeds=2)
    twin = Twin()
    victims = [
        OneProcess("ray::Writer"),
        DatabaseServer(server, seconds=3.0),
        twin,
        OneProcess("ray::Worker"),
    ]
    moments = instants(len(field.expected) - 4, len(victims), SEED)
    strikes = [(0, twin), *zip(moments, victims, strict=True)]
    outcome = Campaign(field, SEED).fight("all", strikes)
    assert outcome.resumed == 1


def test_two_drivers_of_one_sweep_share_it_and_run_each_trial_once(
    tmp_path: Path, llama_folder: Path
) -> None:
    url = f"sqlite:///{tmp_path}/paretoken.db"
    field = Battlefield(tmp_path / "field", llama_folder, url, num_seeds=3)
    with ended(field.start()) as first, ended(field.start()) as second:
        wait_until(lambda: len(field.workers) == 4)
        field.open()
        reports = [field.report(driver) for driver in (first, second)]
    num_trials = len(field.expected)
    assert field.attempts == dict.fromkeys(field.expected, 1)
    assert sum(report["measured"] for report in reports) == num_trials
    for report in reports:
        assert report["measured"] >= num_trials / 4, reports
        assert report["measured"] + report["adopted"] == num_trials
    field.require_undisturbed_numbers()
    field.require_tidy_mlflow()


def test_a_store_waits_for_its_database_says_so_and_goes_on(
    server: MortalServer, caplog: pytest.LogCaptureFixture
) -> None:
    url = server.url(server.create())
    trials = [spec(number) for number in range(2)]
    with Store(url, patience_s=120.0) as patient, Store(url) as hurried:
        begin(patient, trials)
        assert hurried.finished([trials[0].id]) == set()
        server.kill()
        with pytest.raises(OperationalError):
            hurried.finished([trials[0].id])
        back = threading.Timer(2.0, server.revive)
        back.start()
        patient.record([finished(trials[0])])
        back.join()
        assert hurried.finished([trial.id for trial in trials]) == {trials[0].id}
    said = [record.getMessage() for record in caplog.records if record.name == "paretoken.store"]
    assert [sentence.partition("/")[0] for sentence in said] == ["postgresql+psycopg:"] * 2
    assert "does not answer; trying again" in said[0]
    assert "answers again" in said[1]
