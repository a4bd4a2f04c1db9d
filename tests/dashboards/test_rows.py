from __future__ import annotations

import json

import pytest

from dashboards.rows import rows_of, variant_labels
from tests.dashboards.examples import OBJECTIVES, point, sweep


def test_every_point_is_a_row_and_only_what_nothing_beats_is_on_the_frontier() -> None:
    good = point(quality=0.9, flops=0.5)
    worse = point(seed=1, quality=0.8, flops=0.6)
    cheaper = point(seed=2, quality=0.7, flops=0.4)
    rows = rows_of([good, worse, cheaper], OBJECTIVES)
    assert [row.on_frontier for row in rows] == [True, False, True]


def test_workloads_do_not_compete_and_have_their_own_objectives() -> None:
    vision = point("digits", quality=0.5, flops=0.9)
    cache = point("recall", quality=0.9, flops=0.1, kv=0.5)
    assert [row.on_frontier for row in rows_of([vision, cache], OBJECTIVES)] == [True, True]


def test_bounds_give_the_frontier_of_what_is_within_them() -> None:
    points = [point(quality=0.9, flops=0.7), point(seed=1, quality=0.8, flops=0.5)]
    rows = rows_of(points, OBJECTIVES, maximum={"flops": 0.6})
    assert [row.on_frontier for row in rows] == [False, True]


def test_a_row_knows_how_its_configuration_did_with_other_seeds() -> None:
    rows = rows_of(sweep(), OBJECTIVES, maximum={"flops": 0.3})
    spread = rows[1].group.spread["quality"]
    assert spread is not None
    assert rows[1].group.seeds == (0, 1, 2)
    assert spread.high - spread.low == pytest.approx(0.01)


def test_a_workload_without_objectives_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"workload 'digits' has no objectives; known: \['x'\]"):
        rows_of([point()], {"x": {"quality": "maximize"}})


def test_rows_are_json_with_the_promised_keys() -> None:
    (row,) = rows_of([point(hyperparameters={"window": 4})], OBJECTIVES)
    document = json.loads(json.dumps(row.as_json()))
    promised = {"workload", "trial", "method", "keep_ratio", "schedule", "seed", "metrics"}
    assert promised | {"on_frontier"} <= document.keys()
    assert document["metrics"]["tokens_per_layer"] == [64, 32]
    assert document["metrics"]["kv"] is None
    assert document["hyperparameters"] == {"window": 4}


def test_a_label_holds_only_hyperparameters_that_tell_variants_apart() -> None:
    narrow = point(method="snapkv", hyperparameters={"window": 4, "kernel": 7})
    wide = point(method="snapkv", hyperparameters={"window": 16, "kernel": 7})
    alone = point(method="tome", hyperparameters={"prop": True})
    assert list(variant_labels([narrow, wide, alone]).values()) == [
        "snapkv(window=4)",
        "snapkv(window=16)",
        "tome",
    ]
