"""Hypervolume over time: how quickly a sweep found its frontier.

A configuration counts from the moment the last of its seeds finished. The corner that volumes are
measured from stays the same for the whole curve; name it to compare curves of different sweeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from methods.naming import unknown
from store.frontiers.bootstrap import Floats, Ints
from store.frontiers.frontier import reference
from store.frontiers.paired import Paired
from store.frontiers.uncertainty import competitors, oriented_costs
from sweeps.metrics import QUALITY

Times = Mapping[str, tuple[datetime, datetime]]
"""Start and end of every trial."""


@dataclass(frozen=True, slots=True)
class Step:
    """A configuration that made the frontier better."""

    seconds: float
    """Since the first of the trials began."""
    configurations: int
    """How many were measured by then, this one included."""
    volume: float
    index: int
    """Which configuration it is, in the order of the workload's configurations."""


@dataclass(frozen=True, slots=True)
class History:
    """How the volume that one workload's frontier dominates grew over time."""

    corner: dict[str, float]
    """What volumes are measured from, by objective."""
    steps: tuple[Step, ...]
    configurations: int
    seconds: float
    """From the first trial's start to the last one's end."""


def history(paired: Paired, times: Times, corner: Mapping[str, float] | None = None) -> History:
    """Volume after every configuration that enlarged it.

    ``corner`` gives the worst value of objectives; those it leaves out start from
    :func:`store.frontiers.frontier.reference`. Raises ValueError for what is no objective of the
    workload.
    """
    chosen = corner or {}
    for name in chosen:
        if name not in paired.objectives:
            raise ValueError(unknown(f"objective of {paired.workload}", name, paired.objectives))
    members = competitors(paired)
    if not len(members):
        return History(dict(chosen), (), 0, 0.0)
    defaults = reference(paired.configurations, paired.objectives)[paired.workload]
    corners = {name: chosen.get(name, defaults[name]) for name in paired.objectives}
    began = min(times[trial][0] for each in paired.configurations for trial in each.trials)
    ended = [max(times[t][1] for t in paired.configurations[i].trials) for i in members]
    seconds = np.array([(end - began).total_seconds() for end in ended])
    order = np.argsort(seconds, kind="stable")
    ordered = [float(second) for second in seconds[order]]
    values = _worse_is_more(paired, members)[order]
    return History(
        corners,
        tuple(
            Step(ordered[place], place + 1, volume, int(members[order[place]]))
            for place, volume in enlargements(values, _turned(paired, corners))
        ),
        len(members),
        float(seconds.max()),
    )


def enlargements(values: Floats, corner: Floats) -> list[tuple[int, float]]:
    """Place and new volume of every row that enlarged the volume of those before it.

    Rows and corner are to be minimised.
    """
    import moocore

    found: list[tuple[int, float]] = []
    archive, volume = values[:0], 0.0
    for place, row in enumerate(values):
        if (archive <= row).all(axis=1).any() or not (row < corner).all():
            continue
        archive = np.vstack([archive[~(row <= archive).all(axis=1)], row])
        grown = float(moocore.hypervolume(archive, ref=corner))
        if grown > volume:
            found.append((place, grown))
            volume = grown
    return found


def _worse_is_more(paired: Paired, members: Ints) -> Floats:
    """Objectives of the members, quality first where it is one, turned to be minimised."""
    costs = oriented_costs(paired, members)
    if QUALITY not in paired.objectives:
        return costs
    return np.column_stack([-paired.sign * paired.means[members], costs])


def _turned(paired: Paired, corner: Mapping[str, float]) -> Floats:
    names = sorted(paired.objectives, key=lambda name: name != QUALITY)
    signs = {"maximize": -1.0, "minimize": 1.0}
    return np.array([signs[paired.objectives[name]] * corner[name] for name in names])
