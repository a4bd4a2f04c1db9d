"""The table of metrics knows every number that a trial has."""

from __future__ import annotations

from sweeps.metrics import FRACTIONS, METRICS, OBJECTIVES
from sweeps.times import Times
from sweeps.trial import Metrics


def test_every_field_is_in_the_table_and_nothing_else() -> None:
    assert set(METRICS) == set(Metrics.model_fields)
    assert set(Times.model_fields) <= set(METRICS)


def test_people_can_tell_metrics_apart_by_their_words() -> None:
    words = [each.words for each in METRICS.values()]
    assert len(set(words)) == len(words)


def test_a_name_with_a_unit_is_absolute() -> None:
    units = ("_bytes", "_seconds", "_joules", "_per_example")
    assert not [name for name in METRICS if name.endswith(units) and METRICS[name].relative]
    assert set(FRACTIONS) < set(OBJECTIVES)


def test_what_a_frontier_is_taken_over_is_judged_by_or_paid_for() -> None:
    assert {METRICS[name].role for name in OBJECTIVES} == {"quality", "cost"}
    others = {name for name, each in METRICS.items() if each.role == "cost"} - set(OBJECTIVES)
    assert others == {"latency_low", "latency_high"}
