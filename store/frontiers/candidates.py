"""What of many trials decides which are on the frontier, column by column.

The same answers as :func:`store.frontiers.frontier.select` gives, without an object per trial.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from store.frontiers.bootstrap import Flags, Floats
from store.frontiers.frontier import Objectives, check_metric, check_objectives, maximise
from sweeps.metrics import QUALITY
from sweeps.times import TIME_METRICS

NUM_EXAMPLES = "num_examples"


@dataclass(frozen=True)
class Candidates:
    """Finished trials of one workload."""

    trials: Sequence[str]
    names: tuple[str, ...]
    """Metrics, in the order of the columns; quality and the number of examples are among them."""
    values_PM: Floats
    """NaN for what was not measured."""
    in_lane_P: Flags
    """Whose times were taken in the measurement lane; False where no time is among the metrics."""
    simulated: Sequence[str]
    """For each trial the metrics that are only simulated, as JSON."""

    def metric(self, name: str) -> Floats:
        """One column, NaN where the saving is only simulated or was timed while trials ran."""
        column: Floats = self.values_PM[:, self.names.index(name)]
        if name in TIME_METRICS:
            column = np.where(self.in_lane_P, column, np.nan)
        pretending = {text for text in set(self.simulated) if name in json.loads(text)}
        if pretending:
            simulated = np.array([text in pretending for text in self.simulated])
            column = np.where(simulated, np.nan, column)
        return column

    def within(self, maximum: Mapping[str, float], minimum: Mapping[str, float]) -> Flags:
        """Which trials keep to all bounds, ends included; an unknown value keeps to none.

        Raises ValueError for an unknown metric, naming the nearest.
        """
        for name in (*maximum, *minimum):
            check_metric(name)
        keeps = np.ones(len(self.trials), dtype=bool)
        for name, bound in maximum.items():
            keeps &= self.metric(name) <= bound
        for name, bound in minimum.items():
            keeps &= self.metric(name) >= bound
        return keeps

    @property
    def judged(self) -> Flags:
        """Whose quality was measured."""
        return np.isfinite(self.metric(QUALITY))

    def frontier(self, objectives: Objectives, among: Flags) -> Flags:
        """Which of the trials ``among`` no other of them beats.

        Raises ValueError like :func:`store.frontiers.frontier.frontier`.
        """
        import moocore

        values, complete = self._competing(objectives, among)
        best = np.zeros(len(self.trials), dtype=bool)
        if complete.any():
            best[complete] = moocore.is_nondominated(
                values[complete], maximise=maximise(objectives), keep_weakly=True
            )
        return best

    def fronts(self, objectives: Objectives, among: Flags) -> NDArray[np.int64]:
        """For each trial ``among`` 1 on the frontier, 2 on that of the rest, and so on; 0 on none.

        Raises ValueError like :meth:`frontier`.
        """
        import moocore

        values, complete = self._competing(objectives, among)
        fronts = np.zeros(len(self.trials), dtype=np.int64)
        if complete.any():
            ranked = moocore.pareto_rank(values[complete], maximise=maximise(objectives))
            fronts[complete] = 1 + np.asarray(ranked)
        return fronts

    def _competing(self, objectives: Objectives, among: Flags) -> tuple[Floats, Flags]:
        """Values of the objectives, and which trials have all of them."""
        check_objectives(objectives)
        values = np.stack([self.metric(name) for name in objectives], axis=1)
        complete = np.logical_and.reduce(np.isfinite(values), axis=1)
        return values, complete & self.judged & self._longest(among)

    def _longest(self, among: Flags) -> Flags:
        """Those of ``among`` that saw the most examples."""
        numbers = np.nan_to_num(self.metric(NUM_EXAMPLES))
        longest: Flags = among & (numbers == numbers[among].max(initial=0))
        return longest


def by_workload(rows: Collection[Sequence[Any]], names: tuple[str, ...]) -> dict[str, Candidates]:
    """From answers to :func:`store.sql.queries.candidates` with these metrics."""
    if not rows:
        return {}
    workloads, trials, simulated, in_lane, *columns = zip(*rows, strict=True)
    values_PM = np.array(columns, dtype=np.float64).T  # None becomes NaN
    in_lane_P = np.array(in_lane, dtype=bool)
    found = {}
    everywhere = np.array(workloads)
    for workload in dict.fromkeys(workloads):
        here = np.flatnonzero(everywhere == workload)
        found[workload] = Candidates(
            [trials[i] for i in here],
            names,
            values_PM[here],
            in_lane_P[here],
            [simulated[i] for i in here],
        )
    return found
