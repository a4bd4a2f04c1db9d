from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import RenderableType

from dashboards import tables
from dashboards.rows import Row, rows_of
from methods.schedule import Uniform
from store.repository import Store
from sweeps.plan import Impossible, Plan, PlannedTrial
from sweeps.trial import FailureKind
from tests.dashboards.examples import OBJECTIVES, point, sweep
from tests.dashboards.helpers import imported_with, text
from tests.store.examples import begin, failed, finished, spec


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return rows_of(sweep(), OBJECTIVES)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path}/paretoken.db") as opened:
        yield opened


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_frontier_fits_the_terminal_and_cuts_nothing(rows: list[Row], width: int) -> None:
    lines = text(tables.frontier_table(rows), width).splitlines()
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)
    headings = [line.split() for line in lines if line.strip().startswith("method")]
    assert len(headings) == 2
    assert all({"method", "keep", "quality"} <= set(line) for line in headings)


def test_120_columns_show_every_number_of_a_frontier(rows: list[Row]) -> None:
    shown = text(tables.frontier_table(rows))
    assert "Left out" not in shown
    for words in ("tokens", "latency low..high", "comp.", "seeds' mean [min..max]", "trial"):
        assert words in shown
    assert "0.917 ±0.013" in shown
    assert "0.917 [0.912..0.922]" in shown
    assert "0.65..0.80" in shown


def test_what_does_not_fit_is_named(rows: list[Row]) -> None:
    shown = " ".join(text(tables.frontier_table(rows), 60).split())
    assert "Left out, too narrow:" in shown
    assert "low..high" in shown.split("Left out, too narrow:")[1]


def test_frontier_rows_are_marked_without_colours(rows: list[Row]) -> None:
    shown = text(tables.frontier_table(rows))
    best = sum(row.on_frontier for row in rows)
    assert 0 < best < len(rows)
    assert sum(line.startswith("* ") for line in shown.splitlines()) == best
    assert "15 trials" not in shown
    digits = [row for row in rows if row.point.workload == "digits"]
    on = sum(row.on_frontier for row in digits)
    assert f"digits: {on} trials on the frontier (*), {15 - on} others" in shown


def test_a_column_that_nothing_was_measured_for_is_absent(rows: list[Row]) -> None:
    vision = [row for row in rows if row.point.workload == "digits"]
    assert "kv" not in text(tables.frontier_table(vision)).splitlines()[1].split()
    cache = [row for row in rows if row.point.workload == "recall"]
    assert "kv" in text(tables.frontier_table(cache)).splitlines()[1].split()


def test_markup_in_names_is_text() -> None:
    (row,) = rows_of([point(method="[red]x[/red]")], OBJECTIVES)
    assert "[red]x[/red]" in text(tables.frontier_table([row]))


def test_frontier_rows_are_json_of_all_rows(rows: list[Row]) -> None:
    document = json.loads(json.dumps(tables.frontier_rows(rows)))
    assert len(document) == len(sweep())
    assert sum(each["on_frontier"] for each in document) == sum(row.on_frontier for row in rows)


def test_status_counts_what_is_open(store: Store) -> None:
    trials = [spec(number) for number in range(5)]
    begin(store, trials)
    store.record([finished(trials[0]), failed(trials[1])])
    (row,) = tables.status_rows(store)
    json.dumps(row)
    assert (row["planned"], row["finished"], row["failed"], row["open"]) == (5, 1, 1, 3)
    assert "failures" not in row
    (group,) = row["failure_groups"]
    assert (group["sweep"], group["kind"], group["trials"]) == (
        "quickstart",
        "worker-died",
        {"failed": 1},
    )
    assert "quickstart" in text(tables.status_table([row]), 80)


def test_status_of_one_sweep_lists_its_failures_equal_ones_once(store: Store) -> None:
    trials = [spec(number) for number in range(40)]
    begin(store, trials)
    begin(store, trials[:1], "another")
    store.record([failed(trial, FailureKind.OUT_OF_MEMORY) for trial in trials])
    rows = tables.status_rows(store, "quickstart")
    assert [row["name"] for row in rows] == ["quickstart"]
    assert len(json.loads(json.dumps(rows[0]["failures"]))) == 40
    shown = text(tables.status_table(rows))
    assert shown.count("the worker went away") == 1
    assert "40 failed" in shown
    assert "out-of-memory: give workers more room" in " ".join(shown.split())


def test_an_unknown_sweep_is_refused(store: Store) -> None:
    begin(store, [spec()])
    with pytest.raises(ValueError, match="quickstar"):
        tables.status_rows(store, "quickstar")


def test_a_plan_counts_trials_by_method_and_equal_reasons_once() -> None:
    reason = "vit-digits has no weights for seed 7"
    plan = Plan(
        trials=tuple(PlannedTrial("digits", "2x", spec(number)) for number in range(12)),
        impossible=tuple(
            Impossible("digits", f"method-{i % 5}", f"{i}x", Uniform().label, 7, reason)
            for i in range(200)
        ),
        collapsed=3,
    )
    shown = text(tables.plan_table(plan), 80)
    assert "12 digits   tome" in shown
    assert "12 trials; 3 combinations more" in shown
    assert shown.count("has no weights") == 1
    assert "200 digits   method-0, method-1, method-2 and 2 more" in shown
    document = json.loads(json.dumps(tables.plan_rows(plan)))
    assert document["planned"] == len(document["trials"]) == 12
    assert len(document["impossible"]) == 200
    assert {"workload", "method", "keep", "schedule", "seed", "reason"} <= document["impossible"][
        0
    ].keys()


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (tables.frontier_table([]), "No finished trials."),
        (tables.status_table([]), "No sweeps yet"),
    ],
)
def test_nothing_is_said_in_words(table: RenderableType, sentence: str) -> None:
    assert sentence in text(table)


def test_tables_import_nothing_heavy() -> None:
    heavy = ("torch", "ray", "mlflow", "matplotlib", "plotly", "numpy", "pydantic", "sqlalchemy")
    assert imported_with("dashboards.tables", heavy) == "[]"
