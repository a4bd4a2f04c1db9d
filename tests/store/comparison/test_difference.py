"""What a changed file would run again, what it reuses, and the reason for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from methods.schedule import Uniform
from store.comparison.difference import Difference, Fate, difference
from store.repository import Store
from sweeps.trial import MeasureSpec, Named, TrialSpec, Weights
from tests.store import examples

GRID = [examples.spec(n, seed, keep) for n in (1, 2) for seed in (0, 1) for keep in (0.5, 0.25)]


def planned(specs: list[TrialSpec], workload: str = "digits") -> list[tuple[str, str, TrialSpec]]:
    return [(workload, f"{spec.keep_ratio:g}", spec) for spec in specs]


def measured(store: Store, specs: list[TrialSpec], name: str = "quickstart") -> None:
    store.begin_sweep(name, "", {"name": name}, planned(specs), [])
    store.record([examples.finished(spec) for spec in specs])


def reasons(found: Difference, fate: Fate) -> set[tuple[str, ...]]:
    return {change.why for change in found.changes if change.fate is fate}


def changed(**fields: Any) -> list[TrialSpec]:
    return [spec.model_copy(update=fields) for spec in GRID]


def test_an_unchanged_plan_reuses_everything(store: Store) -> None:
    measured(store, GRID)
    found = difference(store, "quickstart", planned(GRID))
    assert found.count(Fate.REUSED) == len(found.changes) == len(GRID)
    assert reasons(found, Fate.REUSED) == {("measured by quickstart",)}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"keep_ratio": 0.3}, ("keep 0.3 is new",)),
        ({"seed": 7}, ("seed 7 is new",)),
        ({"schedule": Uniform()}, ("schedule uniform is new",)),
        ({"method": Named(id="evit", version=4)}, ("method evit is new",)),
        (
            {"method": Named(id="tome", version=3, params={"number": 1})},
            ("method version 1 -> 3",),
        ),
        (
            {"task": Named(id="digits", version=1, params={"num_examples": 96}), "data": "other"},
            ("num_examples 8 -> 96",),
        ),
        ({"data": "9999"}, ("data 0123456789abcdef -> 9999",)),
        (
            {
                "backbone": Weights(
                    name="vit-digits", path="elsewhere/seed-0", fingerprint="11112222"
                )
            },
            ("weights fedcba98 -> 11112222",),
        ),
        ({"measure": MeasureSpec(latency_pairs=0)}, ("measure.latency_pairs 9 -> 0",)),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_new_trial_says_what_is_new_about_it(
    store: Store, fields: dict[str, Any], reason: tuple[str, ...]
) -> None:
    measured(store, GRID)
    new = GRID[0].model_copy(update=fields)
    found = difference(store, "quickstart", planned([*GRID, new]))
    assert reasons(found, Fate.NEW) == {reason}
    (change,) = (each for each in found.changes if each.fate is Fate.NEW)
    assert change.nearest in {spec.id for spec in GRID}
    assert found.count(Fate.RETIRED) == 0
    assert found.count(Fate.REUSED) == len(GRID)


def test_of_hyperparameters_the_most_similar_is_compared(store: Store) -> None:
    def with_params(**params: Any) -> TrialSpec:
        method = Named(id="tome", version=1, params=params)
        return GRID[0].model_copy(update={"method": method})

    measured(store, [with_params(k=1, metric="keys"), with_params(k=2, metric="mean")])
    found = difference(store, "quickstart", planned([with_params(k=3, metric="mean")]))
    assert reasons(found, Fate.NEW) == {("k 2 -> 3",)}


def test_what_left_the_file_retires_and_stays_stored(store: Store) -> None:
    measured(store, GRID)
    kept = [spec for spec in GRID if spec.keep_ratio == 0.5]
    found = difference(store, "quickstart", planned(kept))
    assert reasons(found, Fate.RETIRED) == {("keep 0.25 is gone",)}
    assert all(change.finished for change in found.changes)
    assert found.count(Fate.REUSED, Fate.RETIRED) == len(GRID)
    replaced = changed(method=Named(id="tome", version=2, params={"number": 1}))
    found = difference(store, "quickstart", planned(replaced))
    assert ("method version 1 -> 2",) in reasons(found, Fate.RETIRED)


def test_reuse_from_elsewhere_is_told(store: Store) -> None:
    measured(store, GRID[:2], name="other")
    found = difference(store, "quickstart", planned(GRID[:2]))
    assert not found.stored
    assert reasons(found, Fate.REUSED) == {("measured by other",)}
    renamed = difference(store, "other", planned(GRID[:2], workload="numbers"))
    assert reasons(renamed, Fate.REUSED) == {("measured by other", "there as workload digits")}
    assert reasons(renamed, Fate.RETIRED) == {("the workload is gone",)}


@pytest.mark.parametrize(
    ("attempt", "fate"), [(examples.failed, Fate.FAILED), (None, Fate.OPEN)], ids=["failed", "open"]
)
def test_what_was_planned_and_not_measured_runs(
    store: Store, attempt: Callable[[TrialSpec], Any] | None, fate: Fate
) -> None:
    store.begin_sweep("quickstart", "", {"name": "quickstart"}, planned(GRID[:1]), [])
    if attempt is not None:
        store.record([attempt(GRID[0])])
    found = difference(store, "quickstart", planned(GRID[:1]))
    assert [change.fate for change in found.changes] == [fate]


def test_an_unknown_task_has_nothing_to_compare_with(store: Store) -> None:
    measured(store, GRID)
    found = difference(store, "quickstart", planned(changed(task=Named(id="recall", version=1))))
    assert reasons(found, Fate.NEW) == {("task recall is new",)}
