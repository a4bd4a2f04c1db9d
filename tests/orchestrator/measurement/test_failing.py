"""Where memory is short, batches are small and the numbers the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.measurement.trial import run_trial
from sweeps.load import parse_sweep
from sweeps.plan import plan
from sweeps.times import TIME_METRICS
from sweeps.trial import TrialResult, TrialSpec

SWEEP = """
name: failing
keep: [0.5]
measure: {latency_pairs: 0, latency_batch: 2}
workloads:
  digits:
    task: {id: digits, num_examples: 24, batch_size: 24}
    backbone: BACKBONE
    methods: [tome, pitome]
    schedules: [one-layer]
  recall:
    task: {id: recall, num_examples: 16, batch_size: 16}
    backbone: llama-recall
    methods: [snapkv, random]
    schedules: [uniform]
"""


def planned(backbone: str = "vit-digits") -> dict[str, TrialSpec]:
    found = plan(parse_sweep(SWEEP.replace("BACKBONE", backbone), str(Path("s.yaml").absolute())))
    return {trial.spec.method.id: trial.spec for trial in found.trials}


@pytest.mark.parametrize("method", ["tome", "pitome", "snapkv", "random"])
def test_small_batches_give_the_numbers_that_whole_ones_give(method: str) -> None:
    spec = planned()[method]
    whole, small = run_trial(spec), run_trial(spec, small_batches=True)
    assert numbers(whole) == numbers(small)
    assert whole.outcomes == pytest.approx(small.outcomes, abs=1e-5)
    assert small.environment == {**whole.environment, "small_batches": True}


def numbers(result: TrialResult) -> dict[str, object]:
    """Costs, to the last bit."""
    assert result.metrics, result.error
    return result.metrics.model_dump(exclude={*TIME_METRICS, "quality", "quality_se"})
