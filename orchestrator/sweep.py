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
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dashboards.progress import Progress, progress
from dashboards.race_tables import saving
from dashboards.rows import QUALITY, Row, rows_of
from orchestrator.searching import Searching, searching
from store.race_rows import race_rows, reasons
from store.repository import Store
from store.untimed import untimed
from store.url import artifacts_folder, inside, masked
from sweeps.load import load_sweep
from sweeps.plan import PlannedTrial, plan
from sweeps.search import Race
from sweeps.spec import SweepSpec
from sweeps.tasks import registry as tasks_registry
from sweeps.timing import TimingSpec
from sweeps.trial import Head, TrialResult, TrialSpec, TrialState

if TYPE_CHECKING:  # Ray takes seconds to import, and a sweep that is finished needs none
    from orchestrator.events import PoolEvent, PoolReport

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
    """Finished now."""
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
        used = "" if report.utilisation is None else f", workers {report.utilisation:.0%} busy"
        lines = [
            f"{report.sweep}: {report.planned} trials = {report.reused} reused + "
            f"{report.measured} measured + {report.failed} failed + {self._open} open; "
            f"{report.impossible} impossible combinations; {report.seconds:.0f} s{used}",
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
        return report.planned - report.reused - report.measured - report.failed

    def _timing(self) -> Iterator[str]:
        """How many were timed, and in what quiet."""
        report = self.report
        if not (report.timed or report.timings_failed or report.untimed):
            return
        quiet = "all undisturbed" if not report.disturbed else f"{report.disturbed} disturbed"
        failed = f", {report.timings_failed} failed" if report.timings_failed else ""
        left = f", {report.untimed} to be timed" if report.untimed else ""
        how = f" ({quiet})" if report.timed else ""
        yield f"lane      {report.timed} timings, each alone on its device{how}{failed}{left}"

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


def run_sweep(file: Path, store_url: str, address: str | None = None) -> SweepRun:
    """Run what ``file`` plans and the store does not have yet.

    ``address`` names an existing Ray cluster; None starts a private one, and none at all if nothing
    is left to measure. Raises :class:`~sweeps.mistakes.SweepFileError` before anything is written.
    """
    started = time.perf_counter()
    spec = load_sweep(file)
    planned = plan(spec)
    store = Store(store_url)
    search = searching(store, spec, planned)
    _begin(store, file, spec, search)
    pool = None
    try:
        with progress(search.planned) as shown:
            todo = search.begin()
            shown.update(reused=search.reused, total=search.planned)
            if todo or untimed(store, spec.name):
                pool = _measure(store, todo, search, spec, address, shown)
    finally:
        report = _report(store, spec, search, pool, started)
        _end(store, report)
    rows = rows_of(store.points(spec.name), spec.objectives_by_workload)
    figures = _draw(store, spec, rows, measured=pool is not None)
    raced = isinstance(spec.search, Race)
    saved = saving(race_rows(store, spec.name)) if raced else None
    return SweepRun(report, rows, figures, store_url, saved)


def _begin(store: Store, file: Path, spec: SweepSpec, search: Searching) -> None:
    content = spec.resolved()
    content["search"] |= search.notes
    store.begin_sweep(
        spec.name,
        file.read_text(encoding="utf-8"),
        content,
        search.first_plan(),
        [combination._asdict() for combination in search.impossible],
    )


def _end(store: Store, report: SweepReport) -> None:
    names = ("planned", "reused", "measured", "failed", "timed", "disturbed", "untimed")
    counts = {name: getattr(report, name) for name in names}
    store.end_sweep(report.sweep, report.seconds, report.utilisation, counts)


def _measure(
    store: Store,
    todo: Sequence[TrialSpec],
    search: Searching,
    spec: SweepSpec,
    address: str | None,
    shown: Progress,
) -> PoolReport:
    shown.update(note="starting Ray")
    from orchestrator.cluster import cluster
    from orchestrator.crew import Resources
    from orchestrator.environments import by_interpreter
    from orchestrator.events import PoolReport
    from orchestrator.pool import run_pool
    from orchestrator.shares import staffing

    wanted = spec.resources
    workers = None if wanted.workers == "auto" else wanted.workers
    resources = Resources(cpus=wanted.cpus, gpus=wanted.gpus, workers=workers)
    lane = _Lane(store, spec.name, search)
    listener = _Listener(shown, search)
    deadline = time.monotonic() + 3600 * (spec.budget.max_hours or math.inf)
    report = PoolReport(workers=0)
    measured = lane.trials()
    waiting = by_interpreter([*todo, *measured])
    with cluster(address), staffing(address, resources, spec.priority) as staffed:
        while waiting and not report.interrupted and time.monotonic() < deadline:
            python = next(iter(waiting))
            report += run_pool(
                [trial for trial in waiting.pop(python) if trial not in measured],
                store.url,
                resources=resources,
                staffing=staffed,
                python=python,
                timings=partial(lane.timings, python),
                max_seconds=deadline - time.monotonic(),
                on_event=listener,
                feed=_Here(search, python, waiting),
            )
    return report


@dataclass(frozen=True)
class _Lane:
    """What is to be timed, as the store has it when it is asked."""

    store: Store
    sweep: str
    search: Searching

    def trials(self) -> list[TrialSpec]:
        """Trials that lack a timing, each once."""
        found = dict.fromkeys(trial for trial, _ in untimed(self.store, self.sweep))
        return [self.search.trials[trial].spec for trial in found]

    def timings(self, python: str | None) -> list[TimingSpec]:
        """Timings that are missing, of the trials that run under this interpreter."""
        from orchestrator.environments import by_interpreter

        there = {trial.id: trial for trial in by_interpreter(self.trials()).get(python, ())}
        missing = untimed(self.store, self.sweep)
        return [TimingSpec(there[each], batch) for each, batch in missing if each in there]


class _Here:
    """What a search asks for that runs under one interpreter; the rest waits for its pool."""

    def __init__(
        self, search: Searching, python: str | None, waiting: dict[str | None, list[TrialSpec]]
    ) -> None:
        self._search, self._python, self._waiting = search, python, waiting
        self.width = search.width

    def after(self, result: TrialResult) -> list[TrialSpec]:
        from orchestrator.environments import by_interpreter

        asked = by_interpreter(self._search.after(result))
        here = asked.pop(self._python, [])
        for python, specs in asked.items():
            self._waiting.setdefault(python, []).extend(specs)
        return here

    def heads(self, specs: Sequence[TrialSpec]) -> Mapping[str, Head]:
        return self._search.heads(specs)


class _Listener:
    """Turns what the pool tells into what the progress display shows."""

    def __init__(self, shown: Progress, search: Searching) -> None:
        self._shown, self._search = shown, search
        self._running: set[str] = set()
        self._done = self._failed = self._timings = self._timed = 0
        self._best: dict[str, tuple[int, float, float]] = {}

    def __call__(self, event: PoolEvent) -> None:
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
    store: Store, spec: SweepSpec, search: Searching, pool: PoolReport | None, started: float
) -> SweepReport:
    return SweepReport(
        sweep=spec.name,
        planned=search.planned,
        reused=search.reused,
        measured=pool.finished if pool else 0,
        failed=pool.failed if pool else 0,
        timed=pool.timed if pool else 0,
        disturbed=pool.disturbed if pool else 0,
        timings_failed=pool.timings_failed if pool else 0,
        untimed=len(untimed(store, spec.name)),
        impossible=len(search.impossible),
        seconds=round(time.perf_counter() - started, 3),
        utilisation=pool.utilisation if pool else None,
        interrupted=bool(pool and pool.interrupted),
    )


def _draw(store: Store, spec: SweepSpec, rows: list[Row], measured: bool) -> list[Path]:
    """Write the figures and tell MLflow what is left to tell."""
    from dashboards.figures import write_figures

    figures: list[Path] = []
    if rows:
        folder = inside(artifacts_folder(store.url), "figures", spec.name)
        points = [row.point for row in rows]
        figures = write_figures(spec.name, points, spec.objectives_by_workload, folder)
    with _mirror(store.url) as mirror:
        while mirror.drain():
            pass
        if measured and isinstance(spec.search, Race):
            mirror.tag_trials(spec.name, "race", reasons(store, spec.name))
        if figures:
            mirror.log_sweep_artifacts(spec.name, figures)
    return figures


@contextmanager
def _mirror(url: str) -> Iterator[Any]:
    from store.mlflow_mirror import MlflowMirror

    mirror = MlflowMirror(url)
    try:
        yield mirror
    finally:
        mirror.close()
