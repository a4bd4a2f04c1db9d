from __future__ import annotations

from dataclasses import replace

import pytest

from dashboards.panels import Panel, panels, sweep_labels
from dashboards.rows import rows_of
from store.frontiers.frontier import Objectives
from store.records import Point
from tests.dashboards.examples import OBJECTIVES, SEEDS, point, sweep


def panel(points: list[Point], objectives: Objectives) -> Panel:
    by_workload = {points[0].workload: objectives}
    (only,) = panels(rows_of(points, by_workload), by_workload)
    return only


def test_the_axis_is_the_first_minimised_cost_of_each_workload() -> None:
    drawn = panels(rows_of(sweep(), OBJECTIVES), OBJECTIVES)
    assert [(p.workload, p.cost) for p in drawn] == [("digits", "flops"), ("recall", "kv")]
    assert "FLOPs" in drawn[0].title
    assert drawn[0].subtitle.startswith("256 examples · 3 seeds · 15 trials, ")


@pytest.mark.parametrize(
    ("cost", "title", "label"),
    [
        ("latency_p95", "p95 latency", "p95 latency, fraction of the uncompressed model"),
        ("energy", "energy", "energy, fraction of the uncompressed model"),
        ("kv_bytes", "KV-cache bytes per sequence", "KV-cache bytes per sequence"),
    ],
)
def test_costs_over_the_uncompressed_models_are_drawn_as_fractions(
    cost: str, title: str, label: str
) -> None:
    points = [replace(point(), metrics={**point().metrics, cost: 0.5})]
    drawn = panel(points, {"quality": "maximize", cost: "minimize"})
    assert drawn.title == f"digits: quality against {title}"
    assert drawn.cost_label == label
    assert drawn.is_fraction == ("fraction" in label)


def test_the_staircase_never_falls_and_goes_through_frontier_points_only() -> None:
    drawn = panel(
        [
            point(quality=0.5, flops=0.2),
            point(seed=1, quality=0.9, flops=0.6),
            point(seed=2, quality=0.4, flops=0.5),
            # on a frontier over three objectives, but beaten in this plane
            point(seed=3, quality=0.45, flops=0.4, latency=0.01),
        ],
        {"quality": "maximize", "flops": "minimize", "latency": "minimize"},
    )
    assert sum(row.on_frontier for row in drawn.rows) == 4 - 1
    assert drawn.staircase == ((0.2, 0.5), (0.6, 0.9))


def test_where_lower_quality_is_better_the_staircase_falls() -> None:
    points = [point(quality=0.9, flops=0.2), point(seed=1, quality=0.3, flops=0.6)]
    drawn = panel(points, {"quality": "minimize", "flops": "minimize"})
    assert drawn.staircase == ((0.2, 0.9), (0.6, 0.3))
    assert not drawn.has_quality_shares


def test_curves_are_means_over_seeds_and_end_in_the_baseline() -> None:
    drawn = panel([p for p in sweep() if p.workload == "digits"], OBJECTIVES["digits"])
    assert drawn.baseline == (1.0, pytest.approx(0.965))
    assert [series.label for series in drawn.compared] == ["random", "tome"]
    (curve,) = drawn.compared[1].curves
    assert [x for x, _ in curve.means] == pytest.approx([0.28, 0.6, 1.0])
    assert curve.means[-1] == drawn.baseline
    middle = 0.96 * (0.9 + 0.1 * 0.5)
    assert curve.means[1][1] == pytest.approx(middle + 0.005)
    assert (curve.lows[1], curve.highs[1]) == pytest.approx((middle, middle + 0.005 * SEEDS[-1]))


def test_a_point_without_the_cost_is_counted_not_drawn() -> None:
    points = [point(latency=0.5), point(seed=1, latency=None)]
    drawn = panel(points, {"quality": "maximize", "latency": "minimize"})
    assert len(drawn.rows) == 1
    assert drawn.subtitle.endswith("1 without latency not drawn")


def test_a_workload_of_which_nothing_can_be_drawn_has_no_panel() -> None:
    objectives: dict[str, Objectives] = {"digits": {"latency": "minimize", "quality": "maximize"}}
    assert panels(rows_of([point(latency=None)], objectives), objectives) == []


def test_a_workload_that_minimises_no_cost_has_no_panel() -> None:
    for objectives in ({"quality": "maximize"}, {"quality": "minimize", "tokens": "maximize"}):
        assert panels(rows_of([point()], {"digits": objectives}), {"digits": objectives}) == []


def test_a_method_has_one_look_in_all_panels() -> None:
    drawn = panels(rows_of(sweep(), OBJECTIVES), OBJECTIVES)
    assert sweep_labels(drawn) == ["random", "tome", "snapkv"]
