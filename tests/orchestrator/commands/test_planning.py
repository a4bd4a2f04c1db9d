"""``plan`` and ``diff`` as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.engine import slots
from orchestrator.planning.probe import probe
from store.repository import Store
from sweeps.load import load_sweep
from sweeps.plan import plan
from sweeps.spec import Resources
from tests.store import examples

SWEEP = """
name: small
keep: [1.0, 0.5]
measure: {latency_pairs: 0}
resources: {workers: 2}
workloads:
  digits:
    task: {id: digits, num_examples: 8}
    backbone: vit-digits
    methods: [tome, evit]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SWEEP)
    return path


def asked(*arguments: object) -> Any:
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_plan_without_a_store_makes_none_and_names_no_price(file: Path) -> None:
    url = f"sqlite:///{file.parent}/x.db"
    row = asked("plan", file, "--store", url)
    assert (row["new"], row["reused"], row["planned"]) == (3, 0, 3)
    assert row["price"]["by_basis"] == {"none": 3}
    assert row["memory"][0]["weight_bytes"] > 0
    assert row["memory"][0]["peak_bytes"] is None
    assert not (file.parent / "x.db").exists()


def test_past_trials_price_a_plan_and_what_is_too_large_is_told(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{file.parent}/x.db"
    trials = plan(load_sweep(file)).trials
    with Store(url) as store:
        store.begin_sweep("small", "", {}, trials, [])
        store.record([examples.finished(trial.spec) for trial in trials[:2]])
    row = asked("plan", file, "--store", url)
    assert (row["new"], row["reused"]) == (1, 2)
    assert row["price"]["workers"] == 2
    assert row["memory"][0]["peak_bytes"] == 2**40
    assert not row["memory"][0]["fits"]
    monkeypatch.setattr(slots, "machine_bytes", lambda: 2**43)
    assert asked("plan", file, "--store", url)["memory"][0]["fits"]
    counts = asked("diff", file, "--store", url)
    assert (counts["to_measure"], counts["reused"], counts["retired"]) == (1, 2, 0)


def test_a_probe_measures_what_has_no_past(file: Path) -> None:
    specs = [trial.spec for trial in plan(load_sweep(file)).trials]
    lines: list[str] = []
    found = probe(specs, lines.append)
    assert [each.method for each in found] == ["identity", specs[1].method.id]
    assert all(each.seconds > 0 and each.peak_bytes > 0 for each in found)
    assert len(lines) == 2


def test_a_slot_is_a_worker_s_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "machine_bytes", lambda: 16_000_000_000)
    alone, four = (slots.slot_bytes(Resources(workers=n)) for n in (1, 4))
    assert alone - four == 12_000_000_000
    assert slots.num_workers(Resources(cpus=2), cpus=8) == 4


@pytest.mark.parametrize("strategy", ["race", "tune"])
def test_diff_knows_grids_only_and_says_so(file: Path, strategy: str) -> None:
    file.write_text(f"{SWEEP}search: {{strategy: {strategy}}}\n")
    done = CliRunner().invoke(app, ["diff", str(file), "--store", f"sqlite:///{file.parent}/x.db"])
    message = f"what a {strategy} measures depends on its results, so that diff knows grids only"
    assert message in str(done.exception)
    assert not (file.parent / "x.db").exists()
