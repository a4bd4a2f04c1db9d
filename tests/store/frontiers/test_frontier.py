from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.frontiers.frontier import (
    Objectives,
    across_seeds,
    frontier,
    hypervolume,
    on_frontier,
    reference,
    select,
)
from store.records import METRIC_NAMES, Point

QUALITY_AND_FLOPS: Objectives = {"quality": "maximize", "flops": "minimize"}


@dataclass(frozen=True)
class Row:
    metrics: dict[str, float | None]
    workload: str = "digits"
    simulated: frozenset[str] = frozenset()
    outside_lane: frozenset[str] = frozenset()


def row(quality: float, flops: float | None, **others: Any) -> Row:
    return Row({"quality": quality, "flops": flops, **others})


def dominates(a: Row, b: Row, objectives: Objectives) -> bool:
    """By the definition, written without the library."""
    signs = {name: 1 if way == "maximize" else -1 for name, way in objectives.items()}
    gains = [sign * (a.metrics[n] - b.metrics[n]) for n, sign in signs.items()]  # type: ignore[operator]
    return min(gains) >= 0 and max(gains) > 0


def brute_force(rows: Sequence[Row], objectives: Objectives) -> list[bool]:
    whole = [all(r.metrics[n] is not None for n in (*objectives, "quality")) for r in rows]
    return [
        whole[i]
        and not any(
            whole[j] and other.workload == each.workload and dominates(other, each, objectives)
            for j, other in enumerate(rows)
        )
        for i, each in enumerate(rows)
    ]


values = st.one_of(st.none(), st.integers(0, 4).map(lambda n: n / 4))  # small, so that ties happen
rows = st.builds(
    lambda q, f, k, w: Row({"quality": q, "flops": f, "kv": k}, w),
    values,
    values,
    values,
    st.sampled_from(["a", "b"]),
)
objectives_ = st.dictionaries(
    st.sampled_from(["quality", "flops", "kv"]),
    st.sampled_from(["maximize", "minimize"]),
    min_size=1,
)


@given(st.lists(rows, max_size=12), objectives_)
def test_the_frontier_is_what_nothing_dominates(points: list[Row], objectives: Objectives) -> None:
    assert on_frontier(points, objectives) == brute_force(points, objectives)


def test_equal_points_are_on_the_frontier_together() -> None:
    twins = [row(0.9, 0.5), row(0.9, 0.5), row(0.9, 0.6)]
    assert on_frontier(twins, QUALITY_AND_FLOPS) == [True, True, False]


def test_hypervolume_is_the_area_under_the_staircase() -> None:
    # From flops 1.0: 0.25 wide at quality 0.5, then 0.5 wide at quality 1.0; the last is inside.
    points = [row(0.5, 0.25), row(1.0, 0.5), row(0.4, 0.9)]
    assert hypervolume(points, QUALITY_AND_FLOPS) == {"digits": pytest.approx(0.25 * 0.5 + 0.5)}
    assert reference(points, QUALITY_AND_FLOPS) == {"digits": {"quality": 0.0, "flops": 1.0}}


def test_the_corner_moves_out_for_costs_above_the_baseline() -> None:
    points = [row(0.5, 0.5), row(1.0, 1.25)]
    assert reference(points, QUALITY_AND_FLOPS) == {"digits": {"quality": 0.0, "flops": 1.25}}
    assert hypervolume(points, QUALITY_AND_FLOPS) == {"digits": pytest.approx(0.75 * 0.5)}


def test_costs_in_units_are_measured_from_the_worst_seen() -> None:
    points = [Row({"quality": 1.0, "kv_bytes": size}) for size in (100, 400)]
    objectives: Objectives = {"quality": "maximize", "kv_bytes": "minimize"}
    assert hypervolume(points, objectives) == {"digits": pytest.approx(300)}


def test_a_minimised_quality_is_better_the_smaller_it_is() -> None:
    points = [row(2.0, 0.2), row(1.9, 0.25), row(1.8, 0.5), row(1.95, 0.6)]  # bits per byte
    objectives: Objectives = {"quality": "minimize", "flops": "minimize"}
    assert on_frontier(points, objectives) == [True, True, True, False]
    assert reference(points, objectives) == {"digits": {"quality": 2.0, "flops": 1.0}}
    assert hypervolume(points, objectives) == {"digits": pytest.approx(0.1 * 0.75 + 0.1 * 0.5)}


def test_what_a_race_stopped_early_adds_no_volume() -> None:
    whole, early = row(0.7, 0.5, num_examples=64), row(1.0, 1.3, num_examples=8)
    for asked in (hypervolume, reference):
        assert asked([whole, early], QUALITY_AND_FLOPS) == asked([whole], QUALITY_AND_FLOPS)


def test_workloads_do_not_compete() -> None:
    points = [row(0.9, 0.5), replace(row(0.1, 0.9), workload="recall")]
    assert on_frontier(points, QUALITY_AND_FLOPS) == [True, True]
    assert hypervolume(points, QUALITY_AND_FLOPS).keys() == {"digits", "recall"}


def test_a_point_without_the_cost_is_left_out() -> None:
    points = [row(1.0, None), row(0.5, 0.5)]
    assert on_frontier(points, QUALITY_AND_FLOPS) == [False, True]
    assert hypervolume(points[:1], QUALITY_AND_FLOPS) == {"digits": 0.0}


def test_bounds_choose_among_all_points_not_only_the_frontier() -> None:
    points = [
        row(0.99, 0.4, latency=2.0),  # dominates the next, but is too slow
        row(0.97, 0.45, latency=0.8),
        row(0.96, 0.45, latency=0.8),
        row(0.90, 0.3, latency=0.7),
        row(0.98, 0.5, latency=None),
    ]
    bounds = {"flops": 0.5, "latency": 1.0}
    chosen = select(points, QUALITY_AND_FLOPS, maximum=bounds, minimum={"quality": 0.95})
    assert chosen == [points[1]]
    on_the_edge = select(
        points, QUALITY_AND_FLOPS, maximum={"flops": 0.3}, minimum={"quality": 0.9}
    )
    assert on_the_edge == [points[3]]


def test_no_points_make_an_empty_frontier() -> None:
    assert frontier([], QUALITY_AND_FLOPS) == []
    assert hypervolume([], QUALITY_AND_FLOPS) == {}


def test_what_is_no_metric_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown metric 'flop'; did you mean 'flops'"):
        frontier([], {"flop": "minimize"})
    with pytest.raises(ValueError, match="unknown metric 'qualty'; did you mean 'quality'"):
        select([], QUALITY_AND_FLOPS, minimum={"qualty": 0.9})
    with pytest.raises(ValueError, match="unknown direction 'max'"):
        frontier([], {"quality": "max"})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="at least one objective"):
        frontier([], {})


@dataclass
class PointMaker:
    defaults: dict[str, Any] = field(
        default_factory=lambda: {
            "workload": "digits",
            "method": "tome",
            "hyperparameters_json": "{}",
            "keep_ratio": 0.5,
            "keep_label": "2x",
            "schedule": "uniform",
            "tokens_per_layer_json": "[1]",
            "spec_json": "{}",
            "simulated_json": "[]",
            "in_lane": True,
        }
    )

    def __call__(self, seed: int, quality: float, kv: float | None = None, **others: Any) -> Point:
        metrics: dict[str, float | None] = dict.fromkeys(METRIC_NAMES, 1.0)
        metrics |= {"quality": quality, "kv": kv}
        named = self.defaults | {"trial": f"t{seed}", "seed": seed, "metrics": metrics}
        return Point(**(named | others))


def test_seeds_of_one_configuration_are_told_as_mean_and_range() -> None:
    point = PointMaker()
    points = [point(0, 0.9), point(1, 0.8), point(0, 0.1, method="random"), point(2, 0.7)]
    tome, random = across_seeds(points)
    assert (tome.method, tome.seeds, tome.trials) == ("tome", (0, 1, 2), ("t0", "t1", "t2"))
    quality = tome.spread["quality"]
    assert quality is not None
    assert math.isclose(quality.mean, 0.8)
    assert (quality.low, quality.high) == (0.7, 0.9)
    assert tome.spread["kv"] is None
    assert random.seeds == (0,)
    assert frontier([tome, random], {"quality": "maximize"}) == [tome]


@pytest.mark.parametrize(
    "difference",
    [
        {"workload": "recall"},
        {"method": "evit"},
        {"hyperparameters_json": '{"a":1}'},
        {"keep_ratio": 0.25},
        {"schedule": "progressive"},
    ],
)
def test_configurations_that_differ_are_not_averaged(difference: dict[str, Any]) -> None:
    point = PointMaker()
    assert len(across_seeds([point(0, 0.9), point(1, 0.8, **difference)])) == 2
