"""MLflow shows what the store knows: a run per sweep, and below it a run per trial.

The store is the truth. Its outbox holds what MLflow has not been told; the mirror tells it in
order, through public client calls, with times fixed by the store. A process may die at any instant:
what it was doing is found again by tag and finished, so that a trial has exactly one run per sweep.

A run takes three calls (``create_run`` with all tags, one ``log_batch``, ``set_terminated``); one
call per value would take ten times as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property

from store.database import Database
from store.mirror import mlflow_words as words
from store.mirror import outbox
from store.mirror.mlflow_runs import MlflowRuns
from store.mirror.outbox import Event, Key, TrialRecord
from store.mirror.sweep_page import PageTelling, SweepPage
from store.models import OutboxKind
from store.sql import plans
from store.url import artifacts_folder
from sweeps.trial import TrialState


class MlflowMirror:
    """Tells MLflow, in the same database as the store, what the outbox holds.

    Any number of processes may drain; they take turns. The first use of a database makes MLflow's
    tables, which takes seconds.
    """

    def __init__(self, store_url: str, patience_s: float = 0.0) -> None:
        self._database = Database(store_url, patience_s)

    def drain(self, limit: int = 100) -> int:
        """Mirror the oldest events, at most ``limit``; how many. Call until it is 0.

        Raises mlflow.exceptions.MlflowException if MLflow refuses; what was mirrored before stays.
        """
        with self._database.lock("mirror"):
            with self._database.read() as connection:
                events = outbox.pending(connection, limit)
            if events:
                self._tell(events)
            return len(events)

    def describe(self, sweep: str, page: SweepPage) -> None:
        """Tell MLflow what holds of the sweep as a whole; saying it again changes nothing.

        A process that dies meanwhile leaves some of it untold, and the next run of the sweep tells
        it. Raises ValueError for a sweep that does not exist or has not been mirrored.
        """
        with self._database.read() as connection:
            sweep_id = plans.sweep_id(connection, sweep)
            run_id = outbox.run_id(connection, sweep_id)
            leading = outbox.run_ids(connection, sweep_id, page.leading)
            tagged = {
                name: outbox.run_ids(connection, sweep_id, values)
                for name, values in page.trial_tags.items()
            }
        if run_id is None:
            raise ValueError(f"sweep {sweep!r} has no MLflow run yet; drain the mirror first")
        telling = PageTelling(self._runs, sweep, page)
        telling.rank(leading)
        telling.tag(tagged)
        telling.describe(run_id)

    def close(self) -> None:
        """Give connections back."""
        self._database.close()

    @cached_property
    def _runs(self) -> MlflowRuns:
        url = self._database.url
        return MlflowRuns(url, artifacts_folder(url))

    def _tell(self, events: Sequence[Event]) -> None:
        runs = self._runs  # opened before anything is claimed: a new database takes seconds
        with self._database.write() as connection:
            claims = outbox.claim(connection, events)
        with self._database.read() as connection:
            content = outbox.content(connection, events)
        teller = _Teller(runs, claims, content)
        told: list[int] = []
        try:
            for event in events:
                teller.tell(event)
                told.append(event.sequence)
        finally:
            with self._database.write() as connection:
                outbox.settle(connection, told, teller.made)


class _Teller:
    """One batch of events: what they are about, and the runs that were made on the way."""

    def __init__(
        self, runs: MlflowRuns, claims: dict[Key, outbox.Claim], content: outbox.Content
    ) -> None:
        self._runs = runs
        self._claims = claims
        self._content = content
        self.made: dict[Key, str] = {}

    def tell(self, event: Event) -> None:
        """Mirror one event."""
        match event.kind:
            case OutboxKind.SWEEP_BEGUN:
                self._begin(event)
            case OutboxKind.SWEEP_ENDED:
                self._end(event)
            case OutboxKind.TRIAL_FINISHED | OutboxKind.TRIAL_FAILED | OutboxKind.TRIAL_TIMED:
                if event.sequence not in self._content.superseded:
                    self._trial(event)

    def _begin(self, event: Event) -> None:
        run_id = self._sweep_run(event)
        self._runs.client.update_run(run_id, status="RUNNING")
        self._runs.client.log_text(run_id, self._content.sweeps[event.sweep_id].yaml, "sweep.yaml")

    def _end(self, event: Event) -> None:
        run_id = self._sweep_run(event)
        self._runs.log(run_id, event.created_at, self._content.sweeps[event.sweep_id].numbers)
        self._runs.end(run_id, "FINISHED", event.created_at)

    def _trial(self, event: Event) -> None:
        assert event.trial_id is not None
        trial = self._content.trials[event.trial_id]
        if event.kind is OutboxKind.TRIAL_FAILED and trial.state is TrialState.FINISHED:
            return  # it was run again, and a later event says so
        run_id = self._trial_run(event, trial)
        failure = words.failure_tags(trial.failure, trial.error) if trial.failure else {}
        tags = failure | words.timing_tags(trial.timing)
        self._runs.log(run_id, trial.ended_at, trial.own_metrics, words.params(trial.spec), tags)
        if trial.timing is not None and trial.timing.in_lane:
            self._runs.log(run_id, trial.timing.ended_at, trial.timing.metrics)
        status = "FINISHED" if trial.state is TrialState.FINISHED else "FAILED"
        self._runs.end(run_id, status, trial.ended_at)

    def _sweep_run(self, event: Event) -> str:
        tags = words.sweep_tags(event.sweep)
        return self._run(event.parent, event.sweep, tags, tags, event.created_at)

    def _trial_run(self, event: Event, trial: TrialRecord) -> str:
        parent = self.made.get(event.parent) or self._claims[event.parent].run_id
        identity = {
            words.PARENT_TAG: parent or self._sweep_run(event),
            "trial_id": trial.spec.id,
        }
        label = self._content.labels.get(event.key)
        tags = identity | words.trial_tags(trial.spec, event.sweep, label)
        return self._run(
            event.key, words.run_name(trial.spec, label), identity, tags, trial.started_at
        )

    def _run(
        self, key: Key, name: str, identity: dict[str, str], tags: dict[str, str], at: datetime
    ) -> str:
        """The run of ``key``: known, or made by a process that died, or new."""
        if key not in self.made:
            claim = self._claims[key]
            found = None
            if claim.run_id:
                found = self._runs.revive(claim.run_id)
            elif claim.in_doubt:
                found = self._runs.find(identity)
            if found:
                self._runs.untag(found, words.FAILURE_TAGS)
            self.made[key] = found.info.run_id if found else self._runs.create(name, tags, at)
        return self.made[key]
