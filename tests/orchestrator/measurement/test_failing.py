"""What failed is told by its kind and place; where memory is short, the same numbers come out."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from methods.infeasible import InfeasibleError, MissingHereError
from orchestrator.measurement.failing import kind_of
from orchestrator.measurement.trial import run_trial
from sweeps import models
from sweeps.failures import FailureKind
from sweeps.load import parse_sweep
from sweeps.plan import plan
from sweeps.times import TIME_METRICS
from sweeps.trial import TrialResult, TrialSpec, TrialState

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
    methods: [snapkv, random, gemfilter, {kivi: {residual: 4000}}]
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


SHORT_OF_MEMORY = """
import json, resource, sys
from orchestrator.measurement.trial import let_go, run_trial
from sweeps.trial import TrialSpec

spec = TrialSpec.model_validate_json(sys.stdin.read())
first = run_trial(spec, small_batches=True)
let_go()
run_trial(spec, small_batches=True)
used = next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, (used * 1024 + 48 * 2**20,) * 2)
whole, small = run_trial(spec), run_trial(spec, small_batches=True)
found = [whole.failure, whole.error, small.failure, small.outcomes == first.outcomes]
print(json.dumps(found))
"""


def test_a_batch_that_memory_does_not_hold_is_said_to_be_and_smaller_ones_are_measured() -> None:
    """In a process whose address space the system limits."""
    text = SWEEP.replace("BACKBONE", "vit-digits").replace("24", "256")
    found = plan(parse_sweep(text, str(Path("s.yaml").absolute()))).trials
    spec = next(trial.spec for trial in found if trial.spec.method.id == "tome")
    process = subprocess.run(
        [sys.executable, "-c", SHORT_OF_MEMORY],
        input=spec.model_dump_json(),
        capture_output=True,
        text=True,
        check=True,
    )
    failure, error, again, same = json.loads(process.stdout.splitlines()[-1])
    assert failure == FailureKind.OUT_OF_MEMORY, error
    assert (again, same) == (None, True)


def test_a_number_that_is_lost_is_traced_to_the_layer_that_lost_it(tmp_path: Path) -> None:
    folder = tmp_path / "poisoned"
    shutil.copytree(models.REFERENCE / "vit_digits" / "seed-0", folder)
    weights = load_file(folder / "model.safetensors")
    name = "vit.encoder.layer.1.intermediate.dense.weight"
    weights[name][0, 0] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    result = run_trial(planned(f"{{hf: {folder}}}")["tome"])
    assert (result.state, result.failure) == (TrialState.FAILED, FailureKind.NOT_FINITE)
    assert result.error is not None
    assert (
        "are not finite: first in vit.layers.1.mlp.fc1, whose weight is not finite" in result.error
    )


@pytest.mark.parametrize("method", ["gemfilter", "kivi"])
def test_what_does_not_fit_is_impossible_and_no_failure(method: str) -> None:
    result = run_trial(planned()[method])
    assert (result.state, result.failure) == (TrialState.INFEASIBLE, FailureKind.INFEASIBLE)


def test_weights_that_are_gone_may_be_back_tomorrow(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    shutil.copytree(models.REFERENCE / "vit_digits" / "seed-0", folder)
    spec = planned(f"{{hf: {folder}}}")["tome"]
    shutil.rmtree(folder)
    result = run_trial(spec)
    assert (result.state, result.failure) == (TrialState.FAILED, FailureKind.MISSING_HERE)


def test_kinds_are_told_by_type_and_by_the_words_of_allocators() -> None:
    with pytest.raises(RuntimeError) as allocation:
        torch.empty(2**50, dtype=torch.uint8)
    with pytest.raises(MemoryError) as plain:
        bytearray(2**60)
    fault = RuntimeError("CUDA error: an illegal memory access was encountered")
    assert kind_of(allocation.value) is kind_of(plain.value) is FailureKind.OUT_OF_MEMORY
    assert kind_of(fault) is FailureKind.DEVICE_FAULT
    assert kind_of(RuntimeError("CUDA out of memory. Tried")) is FailureKind.OUT_OF_MEMORY
    assert kind_of(MissingHereError("x")) is FailureKind.MISSING_HERE
    assert kind_of(InfeasibleError("x")) is FailureKind.INFEASIBLE
    assert kind_of(ValueError("x")) is FailureKind.BUG
