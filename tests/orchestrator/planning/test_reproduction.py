"""A stored trial run again: equal numbers where nothing changed, differences where it did."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.measurement import provenance
from orchestrator.measurement.trial import run_trial
from orchestrator.planning.reproduction import reproduce
from store.repository import Store
from sweeps.load import parse_sweep
from sweeps.plan import plan
from sweeps.trial import FailureKind, TrialResult, TrialSpec, TrialState

SWEEP = """
name: small
keep: [0.5]
measure: {latency_pairs: 0}
workloads:
  digits: {task: {id: digits, num_examples: 8}, backbone: vit-digits, methods: [tome]}
"""


@pytest.fixture(scope="module")
def measured() -> tuple[TrialSpec, TrialResult]:
    (trial,) = plan(parse_sweep(SWEEP)).trials
    return trial.spec, run_trial(trial.spec)


@pytest.fixture
def spec(measured: tuple[TrialSpec, TrialResult]) -> TrialSpec:
    return measured[0]


@pytest.fixture
def opened(tmp_path: Path, spec: TrialSpec) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path}/x.db") as store:
        store.begin_sweep("small", "", {}, [("digits", "0.5", spec)], [])
        yield store


def test_a_trial_is_reproduced_bit_by_bit(
    opened: Store, measured: tuple[TrialSpec, TrialResult]
) -> None:
    spec, result = measured
    opened.record([result])
    found = reproduce(opened, spec.id[:6])
    assert found.equal
    assert len(found.numbers) > 10
    assert found.num_outcomes == 8
    assert all(each.same for each in found.conditions)
    assert {"compressor_seconds", "seconds"} <= {each.name for each in found.times}


def test_other_numbers_and_conditions_are_told(
    opened: Store, measured: tuple[TrialSpec, TrialResult]
) -> None:
    spec, result = measured
    assert result.metrics is not None
    metrics = result.metrics.model_copy(update={"flops": result.metrics.flops * (1 + 1e-15)})
    outcomes = [1 - result.outcomes[0], *result.outcomes[1:]]
    environment = {**result.environment, "revision": "0" * 40}
    opened.record([replace(result, metrics=metrics, outcomes=outcomes, environment=environment)])
    done = CliRunner().invoke(app, ["reproduce", spec.id, "--store", opened.url, "--json"])
    row = json.loads(done.stdout)
    assert done.exit_code == 1
    assert [each["name"] for each in row["numbers"] if not each["same"]] == ["flops"]
    assert row["outcomes_that_differ"] == [0]
    assert [each["name"] for each in row["conditions"] if not each["same"]] == ["revision"]
    page = CliRunner().invoke(app, ["reproduce", spec.id, "--store", opened.url]).stdout
    assert "Not reproduced: 1 of" in page


def test_a_failure_that_is_gone_is_a_difference(
    opened: Store, measured: tuple[TrialSpec, TrialResult]
) -> None:
    spec, result = measured
    failed = {"state": TrialState.FAILED, "failure": FailureKind.BUG, "error": "KeyError: 1"}
    opened.record([replace(result, metrics=None, outcomes=[], **failed)])
    found = reproduce(opened, spec.id)
    (ended,) = found.numbers
    assert (ended.then, ended.now) == (FailureKind.BUG, TrialState.FINISHED)
    assert not found.equal


def test_other_weights_are_not_run(opened: Store, measured: tuple[TrialSpec, TrialResult]) -> None:
    spec, result = measured
    weights = spec.backbone.model_copy(update={"fingerprint": "0" * 16})
    other = spec.model_copy(update={"backbone": weights})
    opened.begin_sweep("small", "", {}, [("digits", "0.5", other)], [])
    opened.record([replace(result, trial_id=other.id)])
    found = reproduce(opened, other.id)
    assert found.refused == "the weights are not those that were measured"
    assert not found.equal


def test_what_cannot_be_reproduced_is_refused_in_words(opened: Store, spec: TrialSpec) -> None:
    with pytest.raises(ValueError, match="has not been run yet"):
        reproduce(opened, spec.id)
    with pytest.raises(ValueError, match="no sweep has planned trial 'zzz'"):
        reproduce(opened, "zzz")


def test_a_result_says_which_code_made_it(
    measured: tuple[TrialSpec, TrialResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {"revision", "dirty", "instructions"} <= measured[1].environment.keys()
    provenance.revision.cache_clear()
    monkeypatch.setenv(provenance.VARIABLE, "abc123+")
    assert provenance.revision() == ("abc123", True)
    assert provenance.variables() == {provenance.VARIABLE: "abc123+"}
    provenance.revision.cache_clear()
    monkeypatch.delenv(provenance.VARIABLE)
    monkeypatch.setattr(provenance, "ROOT", Path("/"))
    assert provenance.revision() == (None, None)
    provenance.revision.cache_clear()
