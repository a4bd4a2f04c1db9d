"""Everything that a report says, read from the store in one go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboards.failure_tables import failure_groups
from dashboards.rows import Row, stored_rows
from store.frontiers.frontier import Objectives
from store.frontiers.paired import UnanswerableError
from store.questions.answers import ask
from store.questions.asked import BestQuestion, FrontierQuestion, Question, RankQuestion
from store.records import EnvironmentUse, SweepStatus
from store.repository import Store
from sweeps.metrics import QUALITY

Json = Mapping[str, Any]
TOLERATED = "1%"
"""Loss of quality within which the cheapest configuration is named."""


@dataclass(frozen=True)
class Evidence:
    """A sweep as its report tells it; answers are by workload, without those that have none."""

    status: SweepStatus
    spec: dict[str, Any]
    objectives: Mapping[str, Objectives]
    rows: Sequence[Row]
    frontiers: Mapping[str, Json]
    cheapest: Mapping[str, Json]
    rankings: Mapping[str, Json]
    failures: Sequence[Json]
    impossible: Sequence[Json]
    environments: Sequence[EnvironmentUse]

    def of(self, workload: str) -> list[Row]:
        """The workload's rows."""
        return [row for row in self.rows if row.point.workload == workload]

    @property
    def measured(self) -> list[str]:
        """Workloads of which something has finished, in the order of the file."""
        return list(dict.fromkeys(row.point.workload for row in self.rows))


def gather(store: Store, sweep: str) -> Evidence:
    """Raises ValueError for an unknown sweep, naming the nearest, and for one without results."""
    objectives = store.objectives(sweep)
    rows = stored_rows(store, sweep)
    if not rows:
        raise ValueError(f"sweep {sweep!r} has no finished trial to report: paretoken status")
    cheapest: dict[str, Json] = {}
    for workload, directions in objectives.items():
        cost = next((name for name in directions if name != QUALITY), None)
        if cost is not None:
            question = BestQuestion(workload=workload, of=cost, within=TOLERATED)
            cheapest |= _answers(store, sweep, question)
    return Evidence(
        status=next(each for each in store.sweeps() if each.name == sweep),
        spec=store.spec(sweep),
        objectives=objectives,
        rows=rows,
        frontiers=_answers(store, sweep, FrontierQuestion()),
        cheapest=cheapest,
        rankings=_answers(store, sweep, RankQuestion()),
        failures=failure_groups(sweep, store.failed_attempts(sweep)),
        impossible=store.impossible(sweep),
        environments=store.environments(sweep),
    )


def _answers(store: Store, sweep: str, question: Question) -> dict[str, Json]:
    """By workload; nothing for those that measured too little for the question."""
    try:
        rows = ask(store, sweep, question)
    except UnanswerableError:
        return {}
    except ValueError:  # a workload of which nothing has finished yet
        return {}
    return {row["workload"]: row for row in rows if row["unanswered"] is None}
