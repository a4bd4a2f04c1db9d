"""What a release must pass before it may have traffic: it still is what was measured.

- *current*: the code's versions, the data and the weights are those of the trials;
- *health*: every configuration answers;
- *golden*: the outcomes of the task's first batch are the stored ones, and requests for single
  examples of it get the answers that the whole batch gets (but where a method draws at random:
  there an answer depends on its place in the batch);
- *latency*: its interval, taken again as in the measurement lane, meets the one that was measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Final, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray

from methods.backbones.base import watched_history
from methods.naming import counted
from orchestrator.measurement.models import build_task, compressed, warm_backbone
from orchestrator.measurement.timing import run_timing
from orchestrator.serving.agreement import equal
from orchestrator.serving.engine import Engine
from orchestrator.serving.gate import require_current
from orchestrator.serving.messages import PROBE, Answer
from orchestrator.serving.points import point_name
from store.releases.release import Configuration, Release
from store.repository import Store
from sweeps.timing import TimingSpec

ASKED: Final = 4
"""Single examples that are asked for, of every configuration."""
TIMINGS: Final = 3
"""A latency may be taken so many times until its interval meets the measured one: machines are
noisy, and a configuration that became slower misses all of them."""
_TOLERANCE: Final = 1e-4
"""Between outcomes on machines with other kernels."""

Subject = Literal["current", "health", "golden", "latency"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    subject: Subject
    passed: bool
    words: str
    """What was found, in a few words."""
    point: str = ""
    """``WORKLOAD/TRIAL``; empty for the release as a whole."""
    numbers: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return " ".join(filter(None, (self.subject, self.point, self.words)))

    @property
    def as_evidence(self) -> dict[str, Any]:
        """As JSON for the ledger, without what is empty."""
        return {name: value for name, value in asdict(self).items() if value not in ("", {})}


@dataclass(frozen=True)
class Gate:
    """A release and the store that it was measured into."""

    release: Release
    store: Store

    @cached_property
    def engine(self) -> Engine:
        """What would be served. Raises what a configuration raises that does not answer."""
        return Engine(self.release)

    def checks(self) -> Iterator[Check]:
        """Look at one thing after the other; ends where going on makes no sense."""
        current = _current(self.release)
        yield current
        if not current.passed:
            return
        try:
            _ = self.engine
        except Exception as error:  # whatever a configuration raises, the release is not healthy
            yield Check("health", False, f"a configuration does not answer: {error}")
            return
        count = len(self.release.configurations)
        yield Check("health", True, f"answers from {counted(count, 'configuration')}")
        for workload in self.release.workloads:
            for configuration in workload.configurations:
                point = point_name(workload, configuration)
                yield self._golden(point, configuration)
                yield _latency(point, configuration)

    def exact(self) -> list[str]:
        """Workloads whose examples are answered right or wrong, with nothing between."""
        return [
            workload.name
            for workload in self.release.workloads
            if not workload.minimises_quality
            and all(np.isin(self._outcomes(c), (0, 1)).all() for c in workload.configurations)
        ]

    def golden(self) -> dict[str, Any]:
        """Of every trial, its answer to the task's first example."""
        trials = [c.trial for c in self.release.configurations]
        answers = {trial: self.engine.predict(trial, PROBE) for trial in trials}
        return {trial: a.output for trial, a in answers.items() if isinstance(a, Answer)}

    def _outcomes(self, configuration: Configuration) -> NDArray[np.float64]:
        values: NDArray[np.float64] = self.store.outcomes(configuration.trial)["outcome"].to_numpy()
        return values

    def _golden(self, point: str, configuration: Configuration) -> Check:
        measured, again = self._outcomes(configuration), _Again.of(configuration)
        count = len(again.outcomes)
        right = int(np.isclose(again.outcomes, measured[:count], _TOLERANCE, _TOLERANCE).sum())
        words = f"{right} of {count} outcomes as measured"
        if again.draws:
            return Check("golden", right == count, words, point)
        asked = len(again.answers)
        served = [self.engine.predict(configuration.trial, {"example": i}) for i in range(asked)]
        same = sum(
            isinstance(mine, Answer) and equal(mine.output, whole)
            for mine, whole in zip(served, again.answers, strict=True)
        )
        words += f", {same} of {asked} answers as in the batch"
        return Check("golden", right == count and same == asked, words, point)


@dataclass(frozen=True)
class _Again:
    """The first batch of a configuration's task, evaluated once more."""

    outcomes: NDArray[np.float64]
    answers: list[dict[str, Any]]
    """Of the first :data:`ASKED` examples."""
    draws: bool
    """Whether an answer depends on its place in the batch, because the method draws at random."""

    @classmethod
    def of(cls, configuration: Configuration) -> Self:
        task = build_task(configuration.spec)
        backbone, batch = warm_backbone(configuration.spec.backbone), task.batches()[0]
        with (
            watched_history() as history,
            compressed(backbone, configuration.spec),
            task.prepared(backbone, batch),
        ):
            outcomes = task.outcomes(backbone, batch).double().numpy(force=True)
        with compressed(backbone, configuration.spec), torch.inference_mode():
            answers = task.predict(backbone, batch)[:ASKED]
        return cls(outcomes, answers, history.matters)


def _current(release: Release) -> Check:
    try:
        require_current(release)
    except ValueError as error:
        return Check("current", False, str(error))
    return Check("current", True, "code, data and weights are those of the trials")


def _latency(point: str, configuration: Configuration) -> Check:
    low, high = configuration.measured.latency_low, configuration.measured.latency_high
    if low is None or high is None:
        return Check("latency", True, "was not measured", point)
    spec = TimingSpec(configuration.spec, configuration.spec.measure.batch)
    taken: list[tuple[float, float]] = []
    for _ in range(TIMINGS):
        result = run_timing(spec)
        if result.times is None or result.times.latency_low is None:
            return Check("latency", False, f"could not be taken: {result.error}", point)
        assert result.times.latency_high is not None
        taken.append((result.times.latency_low, result.times.latency_high))
        if taken[-1][0] <= high and low <= taken[-1][1]:
            break
    met = taken[-1][0] <= high and low <= taken[-1][1]
    words = f"[{taken[-1][0]:.3f}, {taken[-1][1]:.3f}] against [{low:.3f}, {high:.3f}] measured"
    return Check("latency", met, words, point, {"taken": taken, "measured": (low, high)})
