"""A driver that shares a cluster: ``python -m tests.orchestrator.sharing_driver URL FOLDER ADDRESS
WEIGHT``. It keeps the number of its workers in ``FOLDER.workers``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from orchestrator.cluster.connection import cluster
from orchestrator.cluster.shares import staffing
from orchestrator.engine.crew import Resources
from orchestrator.engine.events import PoolEvent
from orchestrator.engine.pool import run_pool
from tests.orchestrator.ledgers import plan
from tests.orchestrator.trials import specs


def main(url: str, folder: str, address: str, weight: str) -> None:
    """Run for many minutes, unless told to end."""
    planned = specs(5_000, folder=folder, seconds=0.1)
    plan(url, planned)
    workers, resources = Path(f"{folder}.workers"), Resources()

    def note(event: PoolEvent) -> None:
        workers.write_text(str(event.workers))

    with cluster(address), staffing(address, resources, float(weight)) as staffed:
        report = run_pool(
            planned,
            url,
            resources=resources,
            staffing=staffed,
            runner="tests.orchestrator.trials:noted",
            ledger="tests.orchestrator.ledgers:SqlLedger",
            on_event=note,
        )
    print(report.interrupted, report.finished)


if __name__ == "__main__":
    main(*sys.argv[1:])
