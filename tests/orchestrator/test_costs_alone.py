"""Costs without quality: measured on shapes, listed, and on no frontier and in no server."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

from dashboards.rows import rows_of, short_list
from dashboards.tables import frontier_table
from orchestrator.measurement.models import open_backbone, warm_backbone
from orchestrator.measurement.timing import run_timing
from orchestrator.measurement.trial import run_trial
from store.frontiers.paired import UnanswerableError, load
from store.releases.release import release_of
from store.repository import Store
from sweeps.load import parse_sweep
from sweeps.plan import plan
from sweeps.spec import SweepSpec
from sweeps.times import TIME_METRICS
from sweeps.timing import TimingSpec
from sweeps.trial import Metrics
from tests.measured import measured_store
from tests.shapes import save_shape

SWEEP = """
name: shapes
keep: [1, 0.5]
measure: {measure}
workloads:
  vision:
    task: {{id: shape-vision, batch_size: 2}}
    backbone: {{config: {vision}, weights: random, layers: 3}}
    methods: [tome, random]
  cache:
    task: {{id: shape-kv, prompt_length: 65}}
    backbone: {{config: {llama}, weights: random, layers: 2}}
    methods: [snapkv]
  visual:
    task: {{id: shape-vlm, text_length: 8}}
    backbone: {{config: {llava}, weights: random, layers: 2}}
    methods: [divprune]
  grid:
    task: {{id: shape-vlm, text_length: 8, image_size: 168}}
    backbone: {{config: {qwen}, weights: random, layers: 2}}
    methods: [divprune]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    for name in ("deit-b", "llama-3-8b", "llava-1.5-7b", "qwen2.5-vl-7b"):
        save_shape(folder, name)
    return folder


def yaml_text(measure: str = "[cost]") -> str:
    names = {"vision": "deit-b", "llama": "llama-3-8b", "llava": "llava-1.5-7b"}
    names["qwen"] = "qwen2.5-vl-7b"
    files = {key: f"{name}-narrow.json" for key, name in names.items()}
    return SWEEP.format(measure=measure, **files)


def sweep(folder: Path, measure: str = "[cost]") -> SweepSpec:
    return parse_sweep(yaml_text(measure), str(folder / "sweep.yaml"))


@pytest.fixture(scope="module")
def measured(folder: Path) -> dict[tuple[str, str], Metrics]:
    found = {}
    for trial in plan(sweep(folder)).trials:
        result = run_trial(trial.spec)
        assert result.metrics, result.error
        assert result.outcomes == []
        found[trial.workload, trial.spec.method.id] = result.metrics
    return found


def test_costs_are_measured_and_quality_is_not(
    measured: dict[tuple[str, str], Metrics],
) -> None:
    assert len(measured) == 9
    for (workload, method), metrics in measured.items():
        assert (metrics.quality, metrics.quality_se, metrics.num_examples) == (None, None, 0)
        assert (metrics.latency, metrics.compressor_seconds) == (None, None)
        assert metrics.tokens < 1 or method == "identity"
        assert (metrics.kv is None) == (workload == "vision")
    assert measured["vision", "identity"].tokens_per_layer == [197] * 3
    assert measured["cache", "snapkv"].kv == 0.5
    assert measured["cache", "snapkv"].kv_bytes == 32 * 2 * (2 * 2 * 8) * 4
    assert measured["visual", "divprune"].flops < 0.9
    # 36 visual tokens, then words, of which the last is fed a second time.
    assert measured["grid", "identity"].tokens_per_layer == [36 + 7] * 2
    assert measured["grid", "divprune"].tokens_per_layer == [18 + 7] * 2


def test_the_same_shape_costs_the_same_whatever_its_weights(
    folder: Path, measured: dict[tuple[str, str], Metrics], tmp_path: Path
) -> None:
    """Saved to disk and opened as any other model, it gives the same numbers."""
    planned = plan(sweep(folder)).trials
    ours = {"cache": "snapkv", "vision": "tome", "grid": "divprune"}
    specs = {t.workload: t.spec for t in planned if ours.get(t.workload) == t.spec.method.id}
    for workload, spec in specs.items():
        warm_backbone(spec.backbone).model.save_pretrained(tmp_path / workload)
    text = SWEEP.format(measure="[cost]", vision="x", llama="x", llava="x", qwen="x")
    visual, grid = text.index("  visual:"), text.index("  grid:")
    text = text[:visual] + text[grid:]
    text = text.replace("random, layers: 3", "random").replace("random, layers: 2", "random")
    for workload in specs:
        text = text.replace("{config: x, weights: random}", f"{{hf: {workload}}}", 1)
    for trial in plan(parse_sweep(text, str(tmp_path / "sweep.yaml"))).trials:
        found = run_trial(trial.spec).metrics
        assert found == measured[trial.workload, trial.spec.method.id]


def test_weights_are_the_same_bits_for_a_seed_and_leave_other_draws_alone(folder: Path) -> None:
    spec = plan(sweep(folder)).trials[0].spec
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second = (open_backbone(spec.backbone).model.state_dict() for _ in range(2))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = spec.backbone.model_copy(update={"seed": 1})
    assert any(
        not torch.equal(first[name], tensor)
        for name, tensor in open_backbone(other).model.state_dict().items()
    )


def test_shapes_can_be_timed(folder: Path) -> None:
    spec = sweep(folder, "{what: [cost, latency], latency_pairs: 1}")
    trials = {(t.workload, t.spec.method.id): t.spec for t in plan(spec).trials}
    trial = trials["cache", "snapkv"]
    assert run_trial(trial).metrics == run_trial(trial).metrics  # nothing of it is a time
    timed = run_timing(TimingSpec(trial, trial.measure.batch))
    assert timed.times, timed.error
    assert not timed.in_lane
    absent = {"device_memory", "device_bytes", "energy", "energy_joules", "latency_confidence"}
    assert all(getattr(timed.times, name) > 0 for name in TIME_METRICS - absent)
    assert timed.conditions["cores"] >= 1


@pytest.fixture(scope="module")
def stored(folder: Path) -> Store:
    return measured_store(folder, yaml_text())


def test_costs_are_listed_and_on_no_frontier(stored: Store, folder: Path) -> None:
    points = stored.points("shapes")
    assert stored.objectives("shapes")["cache"] == {"kv": "minimize"}
    rows = rows_of(points, stored.objectives("shapes"))
    assert not any(row.on_frontier for row in rows)
    assert short_list(rows) == rows
    cheap = short_list(rows, {"flops": 0.9})
    assert 0 < len(cheap) < len(rows)
    text = StringIO()
    Console(file=text, width=200).print(frontier_table(rows))
    assert "cache: costs of 2 trials, llama-3-8b-narrow.json, 2 of 32 layers" in text.getvalue()
    assert "without quality there is no frontier" in text.getvalue()
    assert "±" not in text.getvalue()
    assert json.dumps([row.as_json() for row in rows])


def test_costs_alone_are_neither_served_nor_judged(stored: Store) -> None:
    with pytest.raises(ValueError, match="nothing of sweep 'shapes' can be served"):
        release_of(stored, "shapes")
    with pytest.raises(UnanswerableError, match="measured costs alone"):
        load(stored, "shapes")
