"""Every method of the sweeps that ship can be measured, each on a few examples of its workload."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import sweeps
from orchestrator.measurement.trial import run_trial
from sweeps.load import load_sweep
from sweeps.plan import plan
from sweeps.trial import TrialResult, TrialState

SHIPPED = Path(sweeps.__file__).parent
WORKLOADS = {
    "all-vision": ["digits", "dense", "retrieval", "masked"],
    "all-vlm": ["single", "crops", "motion", "stacks"],
    "all-kv": ["known", "text", "edits", "reading", "prompts", "formats", "stacks"],
}
"""One for each kind of model and place."""


@pytest.mark.parametrize(
    ("sweep", "workload"), [(sweep, name) for sweep, names in WORKLOADS.items() for name in names]
)
def test_every_trial_of_a_shipped_sweep_finishes(sweep: str, workload: str, tmp_path: Path) -> None:
    file = tmp_path / "short.yaml"
    file.write_text(yaml.safe_dump(_shortened(SHIPPED / f"{sweep}.yaml", workload)))
    failed = [result for result in _results(file) if result.state is not TrialState.FINISHED]
    assert not failed, "\n".join(f"{result.failure}: {result.error}" for result in failed)


def _shortened(file: Path, workload: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    chosen = content["workloads"][workload]
    chosen["task"]["num_examples"] = 8
    chosen.pop("keep", None)
    return {**content, "workloads": {workload: chosen}, "keep": [0.25], "seeds": [0]}


def _results(file: Path) -> list[TrialResult]:
    planned = plan(load_sweep(file))
    assert planned.trials
    return [run_trial(trial.spec) for trial in planned.trials]
