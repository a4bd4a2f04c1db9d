"""What is the latest does not hang on a wall clock, which somebody may set back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from store.repository import Store
from store.sql import plans
from tests.store.examples import begin, spec


class Clock(datetime):
    """Set back by a day whenever it is read."""

    read = 0

    @classmethod
    def now(cls, tz: object = None) -> Clock:
        """Always earlier than before."""
        cls.read += 1
        return cls(2026, 1, 1, tzinfo=UTC) - timedelta(days=cls.read)


def test_the_sweep_begun_last_comes_first_whatever_the_clock_said(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "datetime", Clock)
    for name in ("a", "b", "c", "a"):
        begin(store, [spec()], name)
    latest = store.sweeps()
    assert [sweep.name for sweep in latest] == ["a", "c", "b"]
    assert latest[0].updated < latest[1].updated < latest[2].updated
