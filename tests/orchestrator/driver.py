"""A driver to be killed: ``python -m tests.orchestrator.driver URL FOLDER``."""

from __future__ import annotations

import sys

from orchestrator.cluster.connection import cluster
from orchestrator.engine.crew import Resources
from orchestrator.engine.pool import run_pool
from tests.orchestrator.ledgers import plan
from tests.orchestrator.trials import specs


def main(url: str, folder: str) -> None:
    planned = specs(60, folder=folder, seconds=0.1)
    plan(url, planned)
    with cluster(num_cpus=2):
        report = run_pool(
            planned,
            url,
            resources=Resources(),
            runner="tests.orchestrator.trials:noted",
            ledger="tests.orchestrator.ledgers:SqlLedger",
        )
    print(report.interrupted, report.finished)


if __name__ == "__main__":
    main(*sys.argv[1:])
