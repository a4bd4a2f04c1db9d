"""Pools of made-up trials, recorded in SQL alone."""

from __future__ import annotations

from typing import Any

from orchestrator.engine.crew import Resources
from orchestrator.engine.events import PoolReport
from orchestrator.engine.pool import run_pool
from store.repository import Store
from sweeps.trial import TrialSpec
from tests.orchestrator.ledgers import plan


def run(url: str, planned: list[TrialSpec], runner: str, **options: Any) -> PoolReport:
    """On two workers of half a CPU, unless told otherwise; ``runner``: ``module:function`` here."""
    plan(url, planned)
    settings = {
        "resources": Resources(cpus=0.5, workers=2),
        "ledger": "tests.orchestrator.ledgers:SqlLedger",
        "runner": f"tests.orchestrator.{runner}",
    }
    return run_pool(planned, url, **{**settings, **options})


def recorded(url: str) -> dict[str, list[float]]:
    """Outcomes by trial; a trial that were there twice would not fit."""
    with Store(url) as store:
        points = store.points("engine")
        found = {point.trial: store.outcomes(point.trial)["outcome"].tolist() for point in points}
        assert len(found) == len(points)
    return found
