"""Run a sweep file from beginning to end: plan, measure what is new, record, draw.

The order matters for crashes: the plan is written before the first trial, each result is durable
before it counts, and MLflow and the figures are made from the store. Killed anywhere, the same call
does what is left.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dashboards.progress import Progress, progress
from dashboards.race_tables import saving
from dashboards.rows import Row, rows_of
from methods.naming import counted
from orchestrator.engine.driver import Driver, Outcome
from orchestrator.engine.events import PoolEvent, PoolReport
from orchestrator.engine.gauges import Gauges
from orchestrator.engine.leasing import Dead, Leasing
from orchestrator.engine.reconciliation import Reconciliation
from orchestrator.search.searching import Searching, searching
from store.database import OUTAGE_SECONDS
from store.questions.untimed import untimed
from store.races.race_rows import race_rows, reasons
from store.repository import Store
from store.sql.plans import RunElsewhereError
from store.url import artifacts_folder, inside, masked
from sweeps.load import load_sweep
from sweeps.metrics import QUALITY
from sweeps.plan import PlannedTrial, plan
from sweeps.search import Race
from sweeps.spec import SweepSpec
from sweeps.tasks import registry as tasks_registry
from sweeps.trial import TrialSpec, TrialState

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


@dataclass(frozen=True)
class SweepReport:
    """How one run of a sweep went; counts are trials."""

    sweep: str
    planned: int
    reused: int
    """Measured before, by this sweep or another."""
    measured: int
    """Finished in this run."""
    adopted: int
    """Finished meanwhile by other drivers, which were waited for."""
    failed: int
    timed: int
    """Timings taken now in the measurement lane; a trial has one for every batch size."""
    disturbed: int
    """Those of them that something may have disturbed."""
    timings_failed: int
    untimed: int
    """Timings that are still to be taken, or that failed."""
    impossible: int
    """Combinations of the file that cannot run; ``paretoken plan`` says why."""
    seconds: float
    utilisation: float | None
    """Model compute / (wall x workers) of the trials, writer included; None where none ran."""
    interrupted: bool
    reconciliation: dict[str, Any]
    """What was found at the start: see :mod:`orchestrator.engine.reconciliation`."""

    @property
    def exit_code(self) -> int:
        """0, or 1 if a trial or a timing failed, or 130 after an interrupt."""
        failed = self.failed > 0 or self.timings_failed > 0
        return INTERRUPTED if self.interrupted else int(failed)

    def row(self) -> dict[str, Any]:
        """The report as one JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class SweepRun:
    """A report and what there is to look at."""

    report: SweepReport
    rows: list[Row]
    figures: list[Path]
    store_url: str
    saving: str | None = None
    """What a race saved, in one sentence."""

    @property
    def summary(self) -> str:
        """Where everything is, and the next commands."""
        report, figure = self.report, " ".join(map(str, self.figures))
        adopted = f"{report.adopted} measured elsewhere + " if report.adopted else ""
        used = "" if report.utilisation is None else f", workers {report.utilisation:.0%} busy"
        lines = [
            f"{report.sweep}: {counted(report.planned, 'trial')} = {report.reused} reused + "
            f"{report.measured} measured + {adopted}{report.failed} failed + {self._open} open; "
            f"{counted(report.impossible, 'impossible combination')}; {report.seconds:.0f} s{used}",
            *self._timing(),
            *([] if self.saving is None else [f"race      {self.saving}"]),
            f"figure    {figure or 'none yet'}",
            f"database  {masked(self.store_url)} (results and MLflow)",
            "next      paretoken ui",
        ]
        return "\n".join([*lines, *self._serving()])

    @property
    def _open(self) -> int:
        report = self.report
        settled = report.reused + report.measured + report.adopted + report.failed
        return report.planned - settled

    def _timing(self) -> Iterator[str]:
        """How many were timed, and in what quiet."""
        report = self.report
        if not (report.timed or report.timings_failed or report.untimed):
            return
        quiet = "all undisturbed" if not report.disturbed else f"{report.disturbed} disturbed"
        failed = f", {report.timings_failed} failed" if report.timings_failed else ""
        left = f", {report.untimed} to be timed" if report.untimed else ""
        how = f" ({quiet})" if report.timed else ""
        taken = counted(report.timed, "timing")
        yield f"lane      {taken}, each alone on its device{how}{failed}{left}"

    def _serving(self) -> Iterator[str]:
        judged = [row for row in self.rows if row.is_judged]
        if judged or not self.rows:
            yield f"          paretoken serve {self.report.sweep}"
        if judged:
            body = f'{{"workload": "{judged[0].point.workload}", "inputs": {{"example": 7}}}}'
            yield (
                "          curl -s 127.0.0.1:8000/v1/predict -H 'content-type: application/json' "
                f"-d '{body}'"
            )


def run_sweep(
    file: Path, store_url: str, address: str | None = None, pool: Mapping[str, Any] | None = None
) -> SweepRun:
    """Run what ``file`` plans and the store does not have yet.

    ``address`` names an existing Ray cluster; None starts a private one, and none at all if nothing
    is left to measure. ``pool`` is what :func:`orchestrator.engine.pool.run_pool` is told besides.
    Raises :class:`~sweeps.mistakes.SweepFileError` before anything is written.
    """
    started = time.perf_counter()
    spec = load_sweep(file)
    planned = plan(spec)
    with Store(store_url, OUTAGE_SECONDS) as store:
        with Leasing(store, spec.name) as leases:
            dead, found = leases.clear_up(), Reconciliation(repaired=leases.mend_mirror())
            search = searching(store, spec, planned)
            try:
                _begin(store, spec, search, leases.driver)
            except RunElsewhereError:
                dead += leases.outwait()
                _begin(store, spec, search, leases.driver)
            outcome = Outcome(PoolReport(workers=0))
            try:
                with progress(search.planned) as shown:
                    todo = _resume(search, found, dead, shown)
                    listener = _Listener(shown, search, spec.name)
                    run = Driver(
                        store, spec, search, leases, found, address, shown, listener, pool or {}
                    )
                    outcome = run.run(todo)
            finally:
                report = _report(store, spec, search, outcome, found, started)
                _end(store, report)
        rows = rows_of(store.points(spec.name), store.objectives(spec.name))
        figures = _draw(store, spec, rows, measured=outcome.pool.workers > 0)
        raced = isinstance(spec.search, Race)
        saved = saving(race_rows(store, spec.name)) if raced else None
        return SweepRun(report, rows, figures, store_url, saved)


def _resume(
    search: Searching, found: Reconciliation, dead: Dead, shown: Progress
) -> Sequence[TrialSpec]:
    """Say what there is already; what has to be measured first."""
    todo = search.begin()
    found.finished = search.reused
    found.take_over(dead, {spec.id for spec in todo})
    if found.sentence:
        shown.say(f"found: {found.sentence}")
    shown.update(reused=search.reused, total=search.planned)
    return todo


def _begin(store: Store, spec: SweepSpec, search: Searching, driver: str) -> None:
    content = spec.resolved()
    content["search"] |= search.notes
    store.begin_sweep(
        spec.name,
        spec.source.text,
        content,
        search.first_plan(),
        [combination._asdict() for combination in search.impossible],
        driver,
    )


def _end(store: Store, report: SweepReport) -> None:
    names = ("planned", "reused", "measured", "adopted", "failed", "timed", "disturbed", "untimed")
    counts = {name: getattr(report, name) for name in names}
    store.end_sweep(report.sweep, report.seconds, report.utilisation, counts)


class _Listener:
    """Turns what the pool tells into what the progress display shows."""

    def __init__(self, shown: Progress, search: Searching, sweep: str) -> None:
        self._shown, self._search, self._gauges = shown, search, Gauges(sweep)
        self._running: set[str] = set()
        self._done = self._failed = self._timings = self._timed = 0
        self._best: dict[str, tuple[int, float, float]] = {}

    def __call__(self, event: PoolEvent) -> None:
        self._gauges.update(event)
        self._timings += event.timings
        self._timed += event.timing is not None
        if event.trial_id is not None and event.timing is None:
            self._trial(event.trial_id, event)
        self._shown.update(
            done=self._done,
            running=len(self._running),
            failed=self._failed,
            timings=self._timings,
            timed=self._timed,
            total=self._search.planned,
            note=event.detail if event.result is None else "",
        )

    def _trial(self, trial_id: str, event: PoolEvent) -> None:
        if event.result is None:
            self._running.add(trial_id)
            return
        self._running.discard(trial_id)
        self._done += 1
        if event.result.state is TrialState.FAILED:
            self._failed += 1
        elif event.result.metrics and event.result.metrics.quality is not None:
            self._consider(self._search.trials[trial_id], event.result.metrics.model_dump())

    def _consider(self, trial: PlannedTrial, metrics: dict[str, Any]) -> None:
        """The best so far of those that saw most examples: in quality, then with fewest tokens."""
        task = tasks_registry.entry(trial.spec.task.id).task
        sign = 1 if task.direction == "maximize" else -1
        place = (metrics["num_examples"], sign * metrics[QUALITY], -metrics["tokens"])
        if place > self._best.get(trial.workload, (0, -math.inf, 0.0)):
            self._best[trial.workload] = place
            words = f"{trial.spec.method.id} keep {trial.keep_label} quality {metrics[QUALITY]:.3f}"
            self._shown.best(trial.workload, words)


def _report(
    store: Store,
    spec: SweepSpec,
    search: Searching,
    outcome: Outcome,
    found: Reconciliation,
    started: float,
) -> SweepReport:
    pool = outcome.pool
    infeasible = len(store.infeasible(search.trials))
    return SweepReport(
        sweep=spec.name,
        planned=search.planned - infeasible,
        reused=search.reused,
        measured=pool.finished,
        adopted=outcome.adopted,
        failed=pool.failed + outcome.adopted_failures,
        timed=pool.timed,
        disturbed=pool.disturbed,
        timings_failed=pool.timings_failed,
        untimed=len(untimed(store, spec.name)),
        impossible=len(search.impossible) + infeasible,
        seconds=round(time.perf_counter() - started, 3),
        utilisation=pool.utilisation,
        interrupted=pool.interrupted,
        reconciliation=found.row(),
    )


def _draw(store: Store, spec: SweepSpec, rows: list[Row], measured: bool) -> list[Path]:
    """Write the figures and tell MLflow what is left to tell."""
    from dashboards.figures import write_figures
    from dashboards.mlflow_pages import sweep_page

    figures: list[Path] = []
    if rows:
        folder = inside(artifacts_folder(store.url), "figures", spec.name)
        points = [row.point for row in rows]
        figures = write_figures(spec.name, points, store.objectives(spec.name), folder)
    tags = {"race": reasons(store, spec.name)} if measured and isinstance(spec.search, Race) else {}
    with _mirror(store.url) as mirror:
        while mirror.drain():
            pass
        mirror.describe(spec.name, sweep_page(store, spec.name, rows, figures, tags))
    return figures


@contextmanager
def _mirror(url: str) -> Iterator[Any]:
    from store.mirror.mlflow_mirror import MlflowMirror

    mirror = MlflowMirror(url, OUTAGE_SECONDS)
    try:
        yield mirror
    finally:
        mirror.close()
