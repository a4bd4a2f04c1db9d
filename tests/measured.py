"""Sweeps that are really measured, in this process: for tests of what comes after a run."""

from __future__ import annotations

from pathlib import Path

from orchestrator.measurement.trial import run_trial
from store.repository import Store
from sweeps.load import load_sweep
from sweeps.plan import Plan, plan


def begun(store: Store, file: Path) -> Plan:
    """Plan a sweep file and have the store know the sweep, as a run does before its first trial."""
    spec = load_sweep(file)
    planned = plan(spec)
    impossible = [each._asdict() for each in planned.impossible]
    store.begin_sweep(spec.name, file.read_text(), spec.resolved(), planned.trials, impossible)
    return planned


def measure(store: Store, file: Path) -> None:
    """Run every trial of a sweep file, and record it."""
    store.record([run_trial(trial.spec) for trial in begun(store, file).trials])


def measured_store(folder: Path, text: str) -> Store:
    """A store in the folder with the results of a sweep's every trial.

    Relative paths of the text are the folder's.
    """
    file = folder / "sweep.yaml"
    file.write_text(text)
    store = Store(f"sqlite:///{folder}/paretoken.db")
    measure(store, file)
    return store
