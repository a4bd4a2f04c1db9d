"""Two drivers of one sweep, in which a trial hangs and one runs out of memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from store.repository import Store
from sweeps.failures import FailureKind, Remedy
from tests.torture.battlefield import PATIENCE_SECONDS, Battlefield, ended
from tests.torture.quick import TROUBLE
from tests.torture.sweep_driver import DEADLINE


def in_trouble(field: Battlefield) -> dict[str, str]:
    """One trial that hangs and one that runs out of memory, at their first attempts."""
    folder = field.notes.with_suffix(TROUBLE)
    folder.mkdir()
    trouble = dict(zip(sorted(field.expected), ("hang", "memory"), strict=False))
    for trial, kind in trouble.items():
        (folder / trial).write_text(kind)
    return trouble


@pytest.mark.timeout(3 * PATIENCE_SECONDS)
def test_trials_that_hang_or_exhaust_memory_change_no_number(
    tmp_path: Path, llama_folder: Path
) -> None:
    url = f"sqlite:///{tmp_path}/paretoken.db"
    field = Battlefield(tmp_path / "field", llama_folder, url, num_seeds=1)
    trouble, deadline = in_trouble(field), {DEADLINE: "20"}
    field.open()
    with ended(field.start(**deadline)) as first, ended(field.start(**deadline)) as second:
        reports = [field.report(driver) for driver in (first, second)]
    assert [report["reconciliation"]["dead"] for report in reports] == [[], []]
    assert sum(report["measured"] for report in reports) == len(field.expected)
    assert field.attempts == {trial: 1 + (trial in trouble) for trial in field.expected}
    field.require_undisturbed_numbers()
    field.require_tidy_mlflow()
    with Store(url) as store:
        failed = {each.trial: (each.kind, each.remedy) for each in store.failed_attempts("matrix")}
    assert {trouble[trial]: what for trial, what in failed.items()} == {
        "hang": (FailureKind.TIMEOUT, Remedy.AGAIN),
        "memory": (FailureKind.OUT_OF_MEMORY, Remedy.SMALLER_BATCH),
    }
