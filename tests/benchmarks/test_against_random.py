"""The comparison with random tokens: pairs, signs, p, and what is said where no control ran."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from methods.evidence import Measured
from methods.registry import build
from methods.schedule import OneLayer, Schedule, Uniform
from store.repository import Store
from sweeps.load import load_sweep
from sweeps.plan import plan
from sweeps.trial import Named, TrialSpec
from tests.benchmarks.against_random import compare, controls_sweep, write
from tests.store import examples

ROOT = Path(__file__).parents[2]
NUM = 40
DRAW = np.random.default_rng(0)
LUCK = DRAW.integers(0, 2, (3, NUM)).astype(float)
GOOD = np.where(DRAW.random((3, NUM)) < 0.6, 1.0, LUCK)


def spec(method: str, seed: int, schedule: Schedule | None = None, **params: object) -> TrialSpec:
    resolved = build(method, params).model_dump(mode="json")
    named = Named(id=method, version=1, params=resolved)
    changes = {"method": named, "schedule": schedule or OneLayer(layer=1)}
    return examples.spec(seed=seed, keep_ratio=0.25).model_copy(update=changes)


def record(store: Store, sweep: str, *outcomes: tuple[TrialSpec, np.ndarray]) -> None:
    trials = [trial for trial, _ in outcomes]
    store.begin_sweep(sweep, "", {}, [("digits", "0.25", trial) for trial in trials], [])
    results = [(examples.finished(trial), of) for trial, of in outcomes]
    store.record([replace(result, outcomes=list(of)) for result, of in results])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path}/paretoken.db") as opened:
        yield opened


def by_method(rows: list[Measured]) -> dict[str, Measured]:
    return {row.id: row for row in rows}


def exact_p(gains: list[float]) -> float:
    """Two-sided sign-flip p of the sum of signed ranks, over all sign patterns (few examples)."""
    ranked = [g for g in gains if g]
    order = sorted(abs(g) for g in ranked)
    rank = {g: np.mean([i + 1 for i, x in enumerate(order) if x == g]) for g in set(order)}
    ranks = np.array([rank[abs(g)] for g in ranked])
    found = abs(float((np.sign(ranked) * ranks).sum()))
    flips = (np.indices((2,) * len(ranks)).reshape(len(ranks), -1) * 2 - 1).T @ ranks
    return float((np.abs(flips) >= found - 1e-9).mean())


def test_outcomes_are_paired_by_example_and_averaged_over_seeds(store: Store) -> None:
    trials = [(spec("tome", seed), GOOD[seed]) for seed in range(3)]
    trials += [(spec("random", seed), LUCK[seed]) for seed in range(3)]
    trials += [(spec("evit", seed), LUCK[seed][::-1]) for seed in range(3)]
    record(store, "all-vision", *trials)
    rows, missing = compare(store, ["all-vision"], ["0.25"])
    assert missing == []
    assert [row.id for row in rows] == ["evit", "tome"]
    tome, evit = by_method(rows)["tome"], by_method(rows)["evit"]
    assert tome.difference == pytest.approx((GOOD - LUCK).mean(), abs=1e-4)
    assert (tome.quality, tome.random) == pytest.approx((GOOD.mean(), LUCK.mean()), abs=1e-4)
    assert (tome.seeds, tome.examples, tome.wins) == (3, NUM, 3)
    assert tome.p < 1e-4
    assert tome.better
    assert evit.difference == 0, "the same outcomes in another order"
    assert evit.p > 0.05
    assert evit.wins == 0


def test_p_is_that_of_all_sign_patterns(store: Store) -> None:
    ours, random = (
        np.array([[1, 1, 1, 0, 1, 1, 0, 1.0]]),
        np.array([[0, 0, 0.5, 0.5, 0, 0.5, 0, 0]]),
    )
    record(store, "s", (spec("tome", 0), ours[0]), (spec("random", 0), random[0]))
    (row,), _ = compare(store, ["s"], ["0.25"])
    assert row.p == pytest.approx(exact_p(list((ours - random)[0])), rel=0.06)


def test_equal_outcomes_are_no_difference(store: Store) -> None:
    record(store, "s", (spec("tome", 0), LUCK[0]), (spec("random", 0), LUCK[0]))
    (row,), _ = compare(store, ["s"], ["0.25"])
    assert (row.difference, row.p, row.wins) == (0, 1, 0)


def test_hyperparameters_are_told_apart_and_other_budgets_left_out(store: Store) -> None:
    variant = spec("tome", 0, round_share=0.2)
    others = ((variant, LUCK[1]), (spec("random", 0), LUCK[0]))
    record(store, "s", (spec("tome", 0), GOOD[0]), *others)
    rows, _ = compare(store, ["s"], ["0.25"])
    assert [row.params for row in rows] == [None, '{"round_share": 0.2}']
    assert compare(store, ["s"], ["0.5"]) == ([], [])


def test_only_seeds_of_the_same_weights_are_paired(store: Store) -> None:
    other = spec("random", 1)
    other = other.model_copy(
        update={"backbone": other.backbone.model_copy(update={"fingerprint": "0" * 8})}
    )
    trials = [(spec("tome", seed), GOOD[seed]) for seed in range(2)]
    record(store, "s", *trials, (spec("random", 0), LUCK[0]), (other, LUCK[1]))
    (row,), _ = compare(store, ["s"], ["0.25"])
    assert row.seeds == 1
    assert row.difference == pytest.approx((GOOD - LUCK)[0].mean(), abs=1e-4)


def test_a_missing_control_is_measured_by_the_sweep_that_is_written(
    store: Store, tmp_path: Path
) -> None:
    """A control with another schedule holds other numbers of tokens and is no comparison."""
    from sweeps.models import open_reference

    weights = open_reference("vit-digits", 0).weights
    update = {"backbone": weights}
    ours = spec("tome", 0).model_copy(update=update)
    uniform = spec("random", 0, Uniform()).model_copy(update=update)
    record(store, "s", (ours, GOOD[0]), (uniform, LUCK[0]))
    rows, missing = compare(store, ["s"], ["0.25"])
    assert rows == []
    file = tmp_path / "controls.yaml"
    file.write_text(controls_sweep(missing, [0]))
    (trial,) = plan(load_sweep(file)).trials
    assert trial.spec.method.id == "random"
    assert trial.spec.schedule == ours.schedule
    assert trial.spec.backbone == ours.backbone
    assert trial.spec.task == ours.task.model_copy(update={"params": trial.spec.task.params})
    same_data = trial.spec.model_copy(update={"data": ours.data})
    record(store, "random-controls", (same_data, LUCK[0]))
    assert [row.id for row in compare(store, ["s"], ["0.25"])[0]] == ["tome"]


def test_one_command_writes_the_table(store: Store, tmp_path: Path) -> None:
    record(store, "all-vision", (spec("tome", 0), GOOD[0]), (spec("random", 0), LUCK[0]))
    out = tmp_path / "measured.csv"
    command = ["-m", "tests.benchmarks.against_random", "--store", store.url, "--out", str(out)]
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "1 comparisons of all-vision" in done.stderr
    with out.open() as stream:
        (row,) = csv.DictReader(stream)
    assert Measured.model_validate({**row, "params": None}).id == "tome"


def test_a_table_without_rows_is_a_header(tmp_path: Path) -> None:
    write([], tmp_path / "measured.csv")
    assert (tmp_path / "measured.csv").read_text().split(",")[0] == "id"
