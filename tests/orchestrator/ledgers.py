"""Places for results that are quick to open, or that fail in one way each."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

from store.repository import Store
from sweeps.trial import TrialResult, TrialSpec


def plan(url: str, trials: Sequence[TrialSpec]) -> None:
    """Make the trials known to the store."""
    with Store(url) as store:
        store.begin_sweep("engine", "", {}, [("recall", "0.5", spec) for spec in trials], [])


class SqlLedger:
    """The store without MLflow, whose tables take seconds to make."""

    def __init__(self, url: str) -> None:
        self.store = Store(url)
        self.store.prepare()
        self.killed_once = Path(f"{self.store.url.removeprefix('sqlite:///')}.killed")

    def record(self, results: Sequence[TrialResult]) -> None:
        self.store.record(results)

    def mirror(self, limit: int) -> int:
        return 0

    def die_once(self) -> None:
        if not self.killed_once.exists():
            self.killed_once.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class DiesBeforeCommit(SqlLedger):
    """Killed once, with the first results in hand."""

    def record(self, results: Sequence[TrialResult]) -> None:
        self.die_once()
        super().record(results)


class DiesAfterCommit(SqlLedger):
    """Killed once, between the first commit and its acknowledgement."""

    def record(self, results: Sequence[TrialResult]) -> None:
        super().record(results)
        self.die_once()


class DiskFull(SqlLedger):
    """Opens, but cannot write."""

    def record(self, results: Sequence[TrialResult]) -> None:
        raise OSError("no space left on device")


class Locked(SqlLedger):
    """Cannot be opened."""

    def __init__(self, url: str) -> None:
        raise PermissionError("the store is locked")
