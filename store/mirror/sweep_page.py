"""What MLflow says of a sweep as a whole: its fronts, volumes, note, files and view.

All of it follows from the store, and telling it again changes nothing: times are those of the
sweep's last run, and only trials are written whose standing is not what MLflow says already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from store.mirror.mlflow_runs import MlflowRuns
from store.mirror.mlflow_words import NOTE_TAG, ON_FRONTIER
from store.questions.standing import Standing

RANK: Final = "pareto_rank"
PROBABILITY: Final = "frontier_probability"


@dataclass(frozen=True)
class SweepPage:
    """What there is to say of a sweep."""

    at: datetime
    """When its last run ended."""
    leading: Mapping[str, Standing]
    """By trial, those that are worth writing down."""
    others: Mapping[str, Standing]
    """The rest, which are corrected where they stood higher before."""
    metrics: Mapping[str, float]
    note: str
    """What the sweep's own run in MLflow says, in Markdown."""
    files: Sequence[Path] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    """By the name of the artifact."""
    trial_tags: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Values by tag and trial."""
    views: Mapping[str, str] = field(default_factory=dict)
    """What links open, by key."""


class PageTelling:
    """Tells one page through public client calls."""

    def __init__(self, runs: MlflowRuns, sweep: str, page: SweepPage) -> None:
        self._runs, self._sweep, self._page = runs, sweep, page

    def rank(self, run_ids: Mapping[str, str]) -> None:
        """Write where trials stand, one call for each of which MLflow says something else.

        A call takes 10 ms, so of thousands of trials only the first fronts are written.
        """
        page = self._page
        told: dict[str, Mapping[str, float]] = {}
        for run in self._runs.having(RANK, {"sweep": self._sweep, "kind": "trial"}):
            trial = run.data.tags["trial_id"]
            told[trial] = run.data.metrics
            if trial in page.others:
                self._write(run.info.run_id, page.others[trial], run.data.metrics)
        for trial, run_id in run_ids.items():
            self._write(run_id, page.leading[trial], told.get(trial, {}))

    def tag(self, run_ids: Mapping[str, Mapping[str, str]]) -> None:
        """Tag runs of trials, by tag and trial; trials that are not mirrored are passed over."""
        for name, runs in run_ids.items():
            for trial, run_id in runs.items():
                self._runs.client.set_tag(run_id, name, self._page.trial_tags[name][trial])

    def describe(self, run_id: str) -> None:
        """Note, metrics and files of the sweep's own run; files of equal names are replaced."""
        page, client = self._page, self._runs.client
        self._runs.log(run_id, page.at, page.metrics, tags={NOTE_TAG: page.note})
        for file in page.files:
            client.log_artifact(run_id, str(file))
        for name, text in page.texts.items():
            client.log_text(run_id, text, name)
        for key, content in page.views.items():
            self._runs.save_view(key, content)

    def _write(self, run_id: str, standing: Standing, told: Mapping[str, float]) -> None:
        metrics = _metrics(standing)
        if any(told.get(name) != value for name, value in metrics.items()):
            tags = {ON_FRONTIER: str(standing.rank == 1).lower()}
            self._runs.log(run_id, self._page.at, metrics, tags=tags)


def _metrics(standing: Standing) -> dict[str, float]:
    known = {RANK: float(standing.rank), PROBABILITY: standing.probability}
    return {name: value for name, value in known.items() if value is not None}
