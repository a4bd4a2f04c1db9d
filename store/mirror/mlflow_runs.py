"""MLflow runs of one experiment, through public client calls."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

from sqlalchemy import Pool, event

from store.database import relax
from store.mirror.mlflow_words import EXPERIMENT, VIEW_TAG
from store.url import sqlite_file

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read while MLflow is imported

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

_PAGE = 1000
"""Runs read at once."""


class MlflowRuns:
    """The experiment ``paretoken`` of one tracking database; made, with all tables, if missing."""

    def __init__(self, tracking_url: str, artifacts: Path) -> None:
        file = sqlite_file(tracking_url)
        if file is not None:
            _relax_sqlite(file)
        for noisy in ("alembic", "mlflow.store.db.utils"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        self.client = MlflowClient(tracking_uri=tracking_url)
        self._experiment_id = self._open_experiment(artifacts)

    def find(self, tags: Mapping[str, str]) -> Run | None:
        """A run with these tags."""
        terms = [f"tags.`{name}` = '{value}'" for name, value in tags.items()]
        found = self.client.search_runs([self._experiment_id], " and ".join(terms), max_results=1)
        return found[0] if found else None

    def having(self, metric: str, tags: Mapping[str, str]) -> Iterator[Run]:
        """All runs that have the metric, whatever its value, and these tags."""
        terms = [f"tags.`{name}` = '{value}'" for name, value in tags.items()]
        query, token = " and ".join([*terms, f"metrics.`{metric}` > -1e300"]), None
        while True:
            page = self.client.search_runs(
                [self._experiment_id], query, max_results=_PAGE, page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return

    def save_view(self, key: str, content: str) -> None:
        """Keep a view of the experiment, which a link with this key opens."""
        self.client.set_experiment_tag(self._experiment_id, f"{VIEW_TAG}{key}", content)

    def revive(self, run_id: str) -> Run | None:
        """The run, taken out of the bin if someone put it there; None if it is gone for good."""
        try:
            run = self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        if run.info.lifecycle_stage == "deleted":
            self.client.restore_run(run_id)
        return run

    def create(self, name: str, tags: dict[str, str], started_at: datetime) -> str:
        """A new run, RUNNING; its id."""
        run = self.client.create_run(
            self._experiment_id, start_time=_milliseconds(started_at), tags=tags, run_name=name
        )
        return str(run.info.run_id)

    def log(
        self,
        run_id: str,
        at: datetime,
        metrics: Mapping[str, float],
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """All values in one call; one that is there already, with its time, stays single."""
        timestamp = _milliseconds(at)
        self.client.log_batch(
            run_id,
            metrics=[Metric(name, value, timestamp, 0) for name, value in metrics.items()],
            params=[Param(name, value) for name, value in (params or {}).items()],
            tags=[RunTag(name, value) for name, value in (tags or {}).items()],
        )

    def untag(self, run: Run, names: Iterable[str]) -> None:
        """Take these tags away where the run has them."""
        for name in names:
            if name in run.data.tags:
                self.client.delete_tag(run.info.run_id, name)

    def end(self, run_id: str, status: str, at: datetime) -> None:
        """FINISHED or FAILED, at this time."""
        self.client.set_terminated(run_id, status, _milliseconds(at))

    def _open_experiment(self, artifacts: Path) -> str:
        found = self.client.get_experiment_by_name(EXPERIMENT)
        if found is None:
            return str(self.client.create_experiment(EXPERIMENT, artifacts.as_uri()))
        if found.lifecycle_stage == "deleted":
            self.client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)


def _relax_sqlite(file: Path) -> None:
    """Six commits make a run: spare MLflow's connections to our file the wait for the disk."""

    def relax_ours(connection: object, _: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            opened = connection.execute("PRAGMA database_list").fetchone()[2]
            if opened and file.samefile(opened):
                relax(connection)

    event.listen(Pool, "connect", relax_ours)


def _milliseconds(time: datetime) -> int:
    return round(time.timestamp() * 1000)
