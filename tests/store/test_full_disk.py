"""A disk that fills up takes nothing of what was recorded, and half a result is never there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from store.repository import Store
from tests.disks import small_disk
from tests.store.examples import begin, finished, spec

TRIALS = [spec(number) for number in range(60)]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of eight megabytes, seven of them taken."""
    with small_disk(tmp_path / "disk", megabytes=8) as folder:
        (folder / "ballast").write_bytes(b"\0" * 7 * 2**20)
        yield folder


def test_a_full_disk_is_told_loses_nothing_and_recording_goes_on_once_there_is_room(
    disk: Path,
) -> None:
    results = [replace(finished(trial), error="x" * 20_000) for trial in TRIALS]
    recorded: list[str] = []

    def record_one_by_one(store: Store) -> None:
        for result in results:
            store.record([result])
            recorded.append(result.trial_id)

    with Store(f"sqlite:///{disk}/results.db") as store:
        begin(store, TRIALS)
        with pytest.raises(OperationalError, match=r"disk is full|disk I/O error"):
            record_one_by_one(store)
        assert 0 < len(recorded) < len(TRIALS)
    with Store(f"sqlite:///{disk}/results.db") as store:
        assert {point.trial for point in store.points("quickstart")} == set(recorded)
        (disk / "ballast").unlink()
        store.record(results)
        points = store.points("quickstart")
        assert [point.trial for point in points] == [trial.id for trial in TRIALS]
        assert all(len(store.outcomes(point.trial)) == 8 for point in points)
