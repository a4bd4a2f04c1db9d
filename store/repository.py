"""The store: what was planned, what came of it, what the frontier is made of.

Promises. A trial is recorded in one transaction with its attempt, numbers, per-example outcomes and
what the mirror has to be told. A finished trial never changes: recording it again does nothing. Any
number of processes may use one database; a store travels between them as its URL. Answers are plain
values; nothing read from them touches the database.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from store.comparison.nearest import Facets
from store.comparison.prices import Past
from store.database import Database
from store.frontiers.candidates import Candidates, by_workload
from store.importing.collection import Collection
from store.models import Impossible, Outcomes, Sweep, SweepTrial, Trial
from store.records import (
    AttemptRecord,
    EnvironmentUse,
    FailedAttempt,
    Failure,
    PlannedRow,
    Point,
    SweepStatus,
)
from store.serialization import ExampleOutcomes, from_parquet, to_parquet
from store.sql import imports, neighbours, plans, queries, results, running, timings
from store.sql.imports import Imported
from store.sql.running import Run
from store.sql.statements import portions
from store.url import masked
from sweeps.collection import uncollected
from sweeps.timing import TimingResult
from sweeps.trial import Metrics, TrialResult, TrialSpec, TrialState

if TYPE_CHECKING:
    from pandas import DataFrame

    from sweeps.metrics import Direction

_CONFIGURATIONS = 3_000
"""In one statement, with three values each."""


class Store:
    """Results in one database, ``sqlite:///FILE`` or ``postgresql+psycopg://...``.

    Opened by the first call that needs it, and tables are brought up to date. A missing SQLite file
    is made by the first call that writes, and empty until then. Raises ValueError for a URL that
    cannot be a store, and :class:`store.database.StoreUnavailableError` from the first call if
    nothing answers there. One that goes away later is waited for up to ``patience_s``.
    """

    def __init__(self, url: str, patience_s: float = 0.0) -> None:
        self._database = Database(url, patience_s)

    @property
    def url(self) -> str:
        """Where the results are, with the password if there is one."""
        return self._database.url

    def __repr__(self) -> str:
        return f"Store({masked(self.url)!r})"

    def __reduce__(self) -> tuple[type[Store], tuple[str, float]]:
        return Store, (self.url, self._database.patience_s)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def prepare(self) -> None:
        """Open the database and import what recording needs, seconds before the first result."""
        self.finished([])
        to_parquet([])

    def close(self) -> None:
        """Give connections back; the store stays usable."""
        self._database.close()

    def begin_sweep(
        self,
        name: str,
        yaml_text: str,
        spec: dict[str, Any],
        trials: Iterable[tuple[str, str, TrialSpec]],
        impossible: Sequence[dict[str, Any]],
        driver: str | None = None,
    ) -> None:
        """Write down what a sweep is about to do: (workload, keep label, spec) for every trial.

        Replaces the plan of an earlier run of that name; trials and their results stay. Where other
        drivers than ``driver``, an id, run the same sweep at the moment, the plan is added to
        theirs. A trial that a workload plans twice keeps its first label. Finished trials that are
        new to this sweep are queued for its MLflow runs. Raises ValueError where others run a race
        or a tuning of that name from another file.
        """
        plan = plans.Plan(name, yaml_text, spec, list(trials), impossible, driver)
        with self._database.write() as connection:
            plans.begin(connection, plan)

    def extend_sweep(
        self,
        name: str,
        trials: Sequence[tuple[str, str, TrialSpec]],
        superseded: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Add trials to the current plan, as :meth:`begin_sweep` is given them.

        ``superseded``, workloads and trial ids, are those whose place trials over more examples
        take. Raises ValueError for a sweep that does not exist.
        """
        with self._database.write() as connection:
            sweep_id = plans.sweep_id(connection, name)
            plans.extend(connection, sweep_id, trials, superseded)

    def add_impossible(self, name: str, combinations: Sequence[dict[str, Any]]) -> None:
        """Add what turned out to be impossible to the current plan, what it does not list yet.

        Raises ValueError for a sweep that does not exist.
        """
        if combinations:
            with self._database.write() as connection:
                sweep_id = plans.sweep_id(connection, name)
                plans.add_impossible(connection, sweep_id, combinations)

    def end_sweep(
        self, name: str, seconds: float, utilisation: float | None, counts: dict[str, int]
    ) -> None:
        """Write down how a run of the sweep went, interrupted or not; ends its MLflow run.

        ``seconds`` is wall time, ``utilisation`` model compute / (wall x workers) or None if
        nothing was measured. Raises ValueError for a sweep that does not exist.
        """
        with self._database.write() as connection:
            sweep_id = plans.sweep_id(connection, name)
            plans.end(connection, sweep_id, seconds, utilisation, counts)

    def record(self, attempts: Sequence[TrialResult | TimingResult]) -> None:
        """Keep these attempts, in order and in one transaction: all of them or none.

        Attempts at trials that are already finished are dropped, repeated timings are kept. Raises
        ValueError for a trial that no sweep has planned.
        """
        trials = [each for each in attempts if isinstance(each, TrialResult)]
        timed = [each for each in attempts if isinstance(each, TimingResult)]
        if attempts:
            with self._database.write() as connection:
                results.record(connection, trials)
                timings.record(connection, timed)

    def finished(self, trial_ids: Iterable[str]) -> set[str]:
        """Those of ``trial_ids`` that need not run again."""
        with self._database.read() as connection:
            return results.finished(connection, set(trial_ids))

    def timed(self, trial_ids: Iterable[str]) -> dict[tuple[str, int], int]:
        """Trials and batch sizes that were timed in the lane, each with the most pairs of runs."""
        with self._database.read() as connection:
            return timings.in_lane(connection, set(trial_ids))

    def lacking(self, sweep: str, batches: Sequence[int], pairs: int) -> list[tuple[str, int]]:
        """Finished trials of the sweep's current plan, each with a batch size at which none of its
        timings in the lane has so many pairs of runs; in the plan's order."""
        found = []
        with self._database.read() as connection:
            sweep_id = plans.sweep_id(connection, sweep)
            for place, batch in enumerate(batches):
                rows = connection.execute(timings.lacking(sweep_id, batch, pairs))
                found += [(position, place, trial, batch) for position, trial in rows]
        return list(dict.fromkeys((trial, batch) for *_, trial, batch in sorted(found)))

    def trials_with(self, sweep: str, method: str) -> list[str]:
        """Trials of the sweep's current plan that run this method."""
        with self._database.read() as connection:
            query = queries.trials_with(plans.sweep_id(connection, sweep), method)
            return list(connection.execute(query).scalars())

    def sweeps(self) -> list[SweepStatus]:
        """All sweeps with the counts of their current plans, the latest first."""
        with self._database.read() as connection:
            return [SweepStatus(*row) for row in connection.execute(queries.sweeps())]

    def runs(self) -> list[Run]:
        """Drivers that are at work, the latest first; one that died may still be among them."""
        with self._database.read() as connection:
            return running.runs(connection)

    def revision(self, sweep: str) -> str:
        """A text that stays the same while nothing about the sweep changes.

        Raises ValueError that names the nearest sweep.
        """
        with self._database.read() as connection:
            return running.revision(connection, plans.sweep_id(connection, sweep))

    def spec(self, sweep: str) -> dict[str, Any]:
        """The resolved spec of the last run. Raises ValueError that names the nearest sweep."""
        with self._database.read() as connection:
            query = select(Sweep.spec).where(Sweep.id == plans.sweep_id(connection, sweep))
            return dict(connection.execute(query).scalar_one())

    def objectives(self, sweep: str) -> dict[str, dict[str, Direction]]:
        """Metrics and directions of every workload of the last run, in the order of the file.

        Raises ValueError that names the nearest sweep.
        """
        workloads = self.spec(sweep)["workloads"]
        return {name: content["objectives"] for name, content in workloads.items()}

    def points(
        self, sweep: str, workload: str | None = None, batch: int | None = None
    ) -> list[Point]:
        """Finished trials of the sweep's current plan, in its order.

        Their times are those at ``batch`` examples, or at as many as their costs were counted on.
        Raises ValueError for a sweep or workload that does not exist, naming the nearest.
        """
        with self._database.read() as connection:
            sweep_id = plans.sweep_id(connection, sweep)
            query = queries.points(sweep_id, batch).where(queries.current())
            if workload is not None:
                plans.require_workload(connection, sweep_id, workload)
                query = query.where(SweepTrial.workload == workload)
            return [queries.point(row) for row in connection.execute(query)]

    @uncollected()
    def candidates(
        self, sweep: str, metrics: Iterable[str], workload: str | None = None
    ) -> dict[str, Candidates]:
        """Finished trials of the sweep's current plan with these metrics, by workload.

        The quality and the number of examples are always among them. Many times faster than
        :meth:`points`. Raises ValueError like it.
        """
        names = tuple(dict.fromkeys(["quality", "num_examples", *metrics]))
        with self._database.read() as connection:
            sweep_id = plans.sweep_id(connection, sweep)
            if workload is not None:
                plans.require_workload(connection, sweep_id, workload)
            rows = connection.execute(queries.candidates(sweep_id, names, workload)).all()
        return by_workload(rows, names)

    def points_beside(self, sweep: str, trial_ids: Iterable[str]) -> list[Point]:
        """These trials of the sweep and those that differ from them in the seed, in its order.

        A few others may be among them: with other hyperparameters or in other workloads.
        """
        query = select(*queries.CONFIGURATION).distinct()
        found: list[Point] = []
        with self._database.read() as connection:
            everything = queries.points(plans.sweep_id(connection, sweep)).where(queries.current())
            wanted = {
                tuple(row)
                for portion in portions(trial_ids)
                for row in connection.execute(query.where(Trial.id.in_(portion)))
            }
            for some in portions(sorted(wanted), _CONFIGURATIONS):
                rows = connection.execute(queries.of_configurations(everything, some))
                found += map(queries.point, rows)
        return found

    def rungs(self, sweep: str) -> dict[str, list[Point]]:
        """Finished trials of every workload, those included whose place a longer one has taken."""
        found: dict[str, list[Point]] = {}
        with self._database.read() as connection:
            query = queries.points(plans.sweep_id(connection, sweep))
            for row in connection.execute(query):
                point = queries.point(row)
                found.setdefault(point.workload, []).append(point)
        return found

    def lost(self, sweep: str) -> set[tuple[str, tuple[str, str, float, str], int]]:
        """Workload, configuration and seed where the current plan's trial cannot be had: it failed,
        or turned out to be impossible. A configuration is method, hyperparameters (JSON), keep
        ratio and schedule."""
        with self._database.read() as connection:
            query = queries.unfinishable(plans.sweep_id(connection, sweep))
            return {
                (row[0], (row[1], row[2], row[3], row[4]), row[5])
                for row in connection.execute(query)
            }

    def finished_points(self, sweep: str, trial_ids: Iterable[str]) -> list[Point]:
        """Those of ``trial_ids`` that the sweep plans and that have finished."""
        found: list[Point] = []
        with self._database.read() as connection:
            query = queries.points(plans.sweep_id(connection, sweep))
            for portion in portions(trial_ids):
                rows = connection.execute(query.where(SweepTrial.trial_id.in_(portion)))
                found += map(queries.point, rows)
        return found

    def metrics(self, trial_id: str) -> Metrics:
        """Every number of a finished trial. Raises ValueError if it has not finished."""
        with self._database.read() as connection:
            row = connection.execute(queries.metrics(trial_id)).mappings().one_or_none()
        if row is None:
            raise _not_finished(trial_id)
        return Metrics.model_validate(dict(row))

    def past(self, tasks: Iterable[str]) -> list[Past]:
        """What finished trials of these tasks took, by backbone, method and number of examples."""
        with self._database.read() as connection:
            return [Past(*row) for row in connection.execute(queries.past(tasks))]

    def trial_id(self, beginning: str) -> str:
        """The id that begins like this. Raises ValueError unless there is exactly one."""
        query = select(Trial.id).where(Trial.id.startswith(beginning, autoescape=True)).limit(3)
        with self._database.read() as connection:
            found = list(connection.execute(query).scalars())
        if len(found) != 1:
            many = f"{len(found)} or more trials begin with {beginning!r}: {', '.join(found)}"
            raise ValueError(many if found else f"no sweep has planned trial {beginning!r}")
        return found[0]

    def attempt(self, trial_id: str) -> AttemptRecord:
        """The last attempt at a trial. Raises ValueError if there is none."""
        with self._database.read() as connection:
            row = connection.execute(queries.attempt(trial_id)).one_or_none()
        if row is None:
            raise ValueError(f"trial {trial_id!r} has not been run yet")
        return AttemptRecord(*row)

    def trial_spec(self, trial_id: str) -> TrialSpec:
        """What a trial runs. Raises ValueError if no sweep has planned it."""
        with self._database.read() as connection:
            query = select(Trial.spec).where(Trial.id == trial_id)
            content = connection.execute(query).scalar_one_or_none()
        if content is None:
            raise ValueError(f"no sweep has planned trial {trial_id!r}")
        return TrialSpec.model_validate(content)

    def planned_trials(self, sweep: str) -> list[PlannedRow] | None:
        """Trials of the sweep's current plan, in no order; None for a sweep not stored.

        As the driver gives them: of 100,000, SQLAlchemy's rows take as long as the query.
        """
        with self._database.read() as connection:
            found = connection.execute(select(Sweep.id).where(Sweep.name == sweep)).scalar()
            if found is None:
                return None
            return [*connection.execute(neighbours.planned(found)).cursor.fetchall()]

    def trials_of(self, tasks: Iterable[str]) -> list[tuple[Facets, str]]:
        """All trials of these tasks, finished ones first: what tells them apart, and their ids."""
        with self._database.read() as connection:
            rows = connection.execute(neighbours.trials(tasks)).all()
        return [(neighbours.facets(row[1:]), row[0]) for row in rows]

    def states(self, trial_ids: Iterable[str]) -> dict[str, TrialState | None]:
        """States of those of ``trial_ids`` that any sweep has ever planned."""
        query = select(Trial.id, Trial.state)
        with self._database.read() as connection:
            return {
                trial: state
                for portion in portions(trial_ids)
                for trial, state in connection.execute(query.where(Trial.id.in_(portion)))
            }

    def planned_by(self, trial_ids: Iterable[str]) -> dict[str, list[str]]:
        """Sweeps whose current plans hold each of ``trial_ids``, by name."""
        sweeps: dict[str, list[str]] = {}
        with self._database.read() as connection:
            for portion in portions(trial_ids):
                for row in connection.execute(neighbours.sweeps(portion)):
                    sweeps.setdefault(row.trial_id, []).append(row.name)
        return sweeps

    def specs(self, trial_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Specs as JSON of those of ``trial_ids`` that any sweep has ever planned."""
        query = select(Trial.id, Trial.spec)
        with self._database.read() as connection:
            return {
                trial: content
                for portion in portions(set(trial_ids))
                for trial, content in connection.execute(query.where(Trial.id.in_(portion)))
            }

    def outcomes(self, trial_id: str) -> DataFrame:
        """Columns ``example`` (0-based, in the task's order), ``outcome`` and perhaps ``cluster``.

        Clusters are examples that hang together, where the task says so. Raises ValueError if the
        trial has not finished.
        """
        import pandas as pd

        read = self.all_outcomes([trial_id]).get(trial_id)
        if read is None:
            raise _not_finished(trial_id)
        columns = {"example": range(len(read.values)), "outcome": read.values}
        return pd.DataFrame(
            columns if read.clusters is None else columns | {"cluster": read.clusters}
        )

    def all_outcomes(self, trial_ids: Iterable[str]) -> dict[str, ExampleOutcomes]:
        """Outcomes of those of ``trial_ids`` that have finished."""
        query = select(Outcomes.trial_id, Outcomes.parquet)
        read: dict[str, ExampleOutcomes] = {}
        with self._database.read() as connection:
            for portion in portions(trial_ids):
                rows = connection.execute(query.where(Outcomes.trial_id.in_(portion)))
                read |= {trial: from_parquet(content) for trial, content in rows}
        return read

    def times(self, sweep: str) -> dict[str, tuple[datetime, datetime]]:
        """Start and end (UTC) of the attempt that finished each trial of the current plan."""
        with self._database.read() as connection:
            rows = connection.execute(queries.finished_attempts(plans.sweep_id(connection, sweep)))
            return {
                trial: (start, start + timedelta(seconds=seconds)) for trial, start, seconds in rows
            }

    def environments(self, sweep: str) -> list[EnvironmentUse]:
        """Where finished trials of the sweep's current plan ran, the most used one first."""
        with self._database.read() as connection:
            query = queries.environments(plans.sweep_id(connection, sweep))
            return [EnvironmentUse(*row) for row in connection.execute(query)]

    def failed_attempts(self, sweep: str) -> list[FailedAttempt]:
        """Attempts at trials of the sweep's current plan that gave no numbers, oldest first."""
        with self._database.read() as connection:
            query = queries.failed_attempts(plans.sweep_id(connection, sweep))
            return [FailedAttempt(*row) for row in connection.execute(query)]

    def infeasible(self, trial_ids: Iterable[str]) -> set[str]:
        """Those of ``trial_ids`` that turned out to be impossible when they were run."""
        with self._database.read() as connection:
            return {
                trial
                for portion in portions(set(trial_ids))
                for trial in connection.execute(queries.infeasible(portion)).scalars()
            }

    def failures(self, sweep: str) -> list[Failure]:
        """Trials of the sweep's current plan whose last attempt failed, in its order."""
        with self._database.read() as connection:
            query = queries.failures(plans.sweep_id(connection, sweep))
            return [Failure(*row) for row in connection.execute(query)]

    def failed_timings(self, sweep: str) -> list[Failure]:
        """Timings of the current plan's trials that only ever failed, in its order."""
        with self._database.read() as connection:
            query = timings.failures(plans.sweep_id(connection, sweep))
            return [
                Failure(*(*row[:-2], f"timed at batch {row.batch}: {row.error}", True))
                for row in connection.execute(query)
            ]

    def impossible(self, sweep: str) -> list[dict[str, Any]]:
        """Combinations of the sweep's current plan that cannot run, with the reasons."""
        with self._database.read() as connection:
            sweep_id = plans.sweep_id(connection, sweep)
            query = select(Impossible.combination).where(Impossible.sweep_id == sweep_id)
            rows = connection.execute(query.order_by(Impossible.position)).scalars()
            return [dict(combination) for combination in rows]

    def add_import(self, name: str, path: str, source: str, collection: Collection) -> bool:
        """Keep what others measured, in one transaction; False if exactly that is there already.

        Raises ValueError if the name stands for other content.
        """
        with self._database.write() as connection:
            return imports.add(connection, name, path, source, collection)

    def remove_import(self, name: str) -> None:
        """Forget an import. Raises ValueError that names the nearest."""
        with self._database.write() as connection:
            imports.remove(connection, name)

    def imports(self) -> list[Imported]:
        """All imports with their points, the latest first."""
        with self._database.read() as connection:
            return imports.every(connection)

    def imported(self, name: str) -> Imported:
        """One import with its points. Raises ValueError that names the nearest."""
        with self._database.read() as connection:
            return imports.one(connection, name)


def _not_finished(trial_id: str) -> ValueError:
    return ValueError(f"trial {trial_id!r} has not finished in this store")
