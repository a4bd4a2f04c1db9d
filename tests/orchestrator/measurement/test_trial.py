"""A trial's numbers are measured, depend on its spec alone, and say when nothing happened."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from methods import registry
from methods.schedule import Progressive, Uniform
from orchestrator.measurement.trial import run_trial
from sweeps.load import parse_sweep
from sweeps.plan import plan
from sweeps.times import TIME_METRICS
from sweeps.trial import FailureKind, Metrics, Named, TrialSpec, TrialState

SWEEP = """
name: trials
keep: [1.0, 0.25]
measure: {{latency_pairs: 1, latency_batch: 2}}
workloads:
  digits:
    task: {{id: digits, num_examples: 8, batch_size: 4}}
    backbone: {vit}
    methods: [identity, tome]
    schedules: [progressive]
  recall:
    task: {{id: recall, num_examples: 8, batch_size: 4, context_length: 64, num_pairs: 4}}
    backbone: {llama}
    methods: [identity, snapkv]
"""
REFERENCES = SWEEP.format(vit="vit-digits", llama="llama-recall")


def specs(text: str) -> dict[tuple[str, str], TrialSpec]:
    found = plan(parse_sweep(text, Path("trials.yaml"))).trials
    return {(trial.workload, trial.spec.method.id): trial.spec for trial in found}


@pytest.fixture(scope="module")
def references() -> dict[tuple[str, str], TrialSpec]:
    return specs(REFERENCES)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def measured(spec: TrialSpec) -> Metrics:
    result = run_trial(spec)
    assert result.state is TrialState.FINISHED, result.error
    assert result.metrics
    assert result.metrics.num_examples == len(result.outcomes)
    return result.metrics


@pytest.mark.parametrize("workload", ["digits", "recall"])
def test_the_baseline_costs_what_the_baseline_costs(
    references: dict[tuple[str, str], TrialSpec], workload: str
) -> None:
    metrics = measured(references[workload, "identity"])
    assert (metrics.tokens, metrics.flops, metrics.peak_memory) == (1.0, 1.0, 1.0)
    assert metrics.kv == (1.0 if workload == "recall" else None)
    assert metrics.compressor_seconds == 0.0


@pytest.mark.parametrize(
    ("workload", "place", "method_id"),
    [
        (workload, place, entry.id)
        for workload, place in (("digits", "vision"), ("recall", "kv"))
        for entry in registry.entries().values()
        if place in entry.places
    ],
)
def test_at_keep_one_every_method_is_exactly_the_baseline(
    references: dict[tuple[str, str], TrialSpec], workload: str, place: str, method_id: str
) -> None:
    """Difference 0.0 on every example and in every number that is not a time."""
    baseline = references[workload, "identity"]
    method = Named(id=method_id, version=1, params={})
    other = baseline.model_copy(update={"method": method, "schedule": Progressive()})
    expected, found = run_trial(baseline), run_trial(other)
    assert found.outcomes == expected.outcomes
    assert found.metrics
    assert expected.metrics
    timeless = {"exclude": {*TIME_METRICS, "simulated"}}
    assert found.metrics.model_dump(**timeless) == expected.metrics.model_dump(**timeless)


def test_a_vision_trial_counts_the_tokens_that_enter_each_layer(
    references: dict[tuple[str, str], TrialSpec],
) -> None:
    metrics = measured(references["digits", "tome"])
    layers = metrics.tokens_per_layer
    assert layers == sorted(layers, reverse=True)
    assert (layers[0], layers[-1]) == (145, 37)
    assert metrics.tokens == sum(layers) / (145 * len(layers))
    assert metrics.flops < 0.8
    assert metrics.compressor_seconds
    assert metrics.latency is None


def test_a_cache_trial_counts_the_bytes_that_are_held(
    references: dict[tuple[str, str], TrialSpec],
) -> None:
    metrics = measured(references["recall", "snapkv"])
    spec = references["recall", "snapkv"]
    assert metrics.tokens == pytest.approx(spec.keep_ratio, abs=0.01)
    assert metrics.kv == metrics.tokens
    heads_times_width = 2 * 16
    entries = sum(metrics.tokens_per_layer)
    assert metrics.kv_bytes == entries * heads_times_width * 2 * 4


def test_numbers_are_the_same_bits_in_another_process_and_in_any_order(
    references: dict[tuple[str, str], TrialSpec],
) -> None:
    script = (
        "import sys, json, torch; torch.set_num_threads(1)\n"
        "from orchestrator.measurement.trial import run_trial\n"
        "from sweeps.trial import TrialSpec\n"
        "specs = [TrialSpec.model_validate(s) for s in json.load(sys.stdin)]\n"
        "found = [run_trial(s) for s in reversed(specs)]\n"
        "print(json.dumps([[r.metrics.model_dump(), r.outcomes] for r in reversed(found)]))\n"
    )
    chosen = list(references.values())
    here = [run_trial(spec) for spec in chosen]
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps([spec.model_dump(mode="json") for spec in chosen]),
        capture_output=True,
        text=True,
        check=True,
    )
    for result, (metrics, outcomes) in zip(here, json.loads(done.stdout), strict=True):
        assert result.metrics
        expected = result.metrics.model_dump()
        assert {k: v for k, v in metrics.items() if k not in TIME_METRICS} == {
            k: v for k, v in expected.items() if k not in TIME_METRICS
        }
        assert outcomes == result.outcomes


def test_any_hugging_face_directory_takes_the_same_path(
    vit_folder: Path, llama_folder: Path
) -> None:
    text = SWEEP.format(
        vit=f"{{hf: {vit_folder}, dtype: float32}}", llama=f"{{hf: {llama_folder}}}"
    )
    for spec in specs(text).values():
        measured(spec)


def test_weights_that_changed_since_the_plan_are_not_measured_under_their_name(
    vit_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(vit_folder, tmp_path / "model")
    text = SWEEP.format(vit=f"{{hf: {folder}}}", llama="llama-recall")
    spec = specs(text)["digits", "tome"]
    config = folder / "config.json"
    config.write_text(config.read_text().replace("gelu", "relu"))
    result = run_trial(spec)
    assert result.failure is FailureKind.MISSING_HERE
    assert "changed" in (result.error or "")


def test_expected_failures_are_typed_and_the_process_lives(
    references: dict[tuple[str, str], TrialSpec],
) -> None:
    baseline = references["digits", "identity"]
    infeasible = run_trial(baseline.model_copy(update={"keep_ratio": 0.5, "schedule": Uniform()}))
    assert infeasible.failure is FailureKind.INFEASIBLE
    assert "identity" in (infeasible.error or "")
    tome = references["digits", "tome"]
    vacuous = run_trial(tome.model_copy(update={"keep_ratio": 0.999}))
    assert vacuous.failure is FailureKind.VACUOUS
    measured(tome)
