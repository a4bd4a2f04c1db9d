"""Where every trial of a sweep stands: its front, and how likely it is the first one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from store.frontiers.frontier import hypervolume
from store.frontiers.paired import UnanswerableError
from store.questions.answers import ask
from store.questions.asked import FrontierQuestion
from store.repository import Store


@dataclass(frozen=True, slots=True)
class Standing:
    """Of one trial in its workload."""

    rank: int
    """1 on the frontier, 2 on that of the rest, and so on; 0 where it does not compete."""
    probability: float | None
    """Of its configuration, over all seeds, to be on the frontier; None where nobody can say."""


def standings(store: Store, sweep: str) -> dict[str, Standing]:
    """Of every finished trial of the sweep's current plan; where workloads share one, the best.

    Raises ValueError for a sweep that does not exist.
    """
    objectives = store.objectives(sweep)
    names = {name for each in objectives.values() for name in each}
    candidates = store.candidates(sweep, names)
    odds = _odds(store, sweep) if candidates else {}
    found: dict[str, Standing] = {}
    for workload, members in candidates.items():
        everyone = np.ones(len(members.trials), dtype=bool)
        ranks = members.fronts(objectives[workload], everyone)
        for trial, rank in zip(members.trials, ranks.tolist(), strict=True):
            before = found.get(trial)
            if before is None or 0 < rank < (before.rank or rank + 1):
                found[trial] = Standing(rank, odds.get((workload, trial)))
    return found


def volumes(store: Store, sweep: str) -> Mapping[str, float]:
    """Hypervolume of every workload whose quality was measured."""
    objectives = store.objectives(sweep)
    by_workload: dict[str, float] = {}
    for workload, directions in objectives.items():
        points = [p for p in store.points(sweep, workload) if p.metrics["quality"] is not None]
        by_workload |= hypervolume(points, directions) if points else {}
    return by_workload


def _odds(store: Store, sweep: str) -> dict[tuple[str, str], float]:
    try:
        rows = ask(store, sweep, FrontierQuestion())
    except UnanswerableError:
        return {}
    return {
        (row["workload"], trial): each["probability"]
        for row in rows
        if row["unanswered"] is None
        for each in row["configurations"]
        for trial in each["trials"]
    }
