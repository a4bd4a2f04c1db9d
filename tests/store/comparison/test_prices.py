"""The price of a plan: from past trials of its kind, as sure as they allow, or not at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from store.comparison.prices import Past, Price, Prices
from store.repository import Store
from sweeps.trial import Named, TrialSpec
from tests.store import examples


def spec(method: str = "tome", num_examples: int = 8, seed: int = 0) -> TrialSpec:
    task = Named(id="digits", version=1, params={"num_examples": num_examples})
    update = {"task": task, "method": Named(id=method, version=1), "seed": seed}
    return examples.spec().model_copy(update=update)


def past(method: str = "tome", seconds: float = 2.0, **changes: Any) -> Past:
    whole = Past(
        "digits", "vit-digits", method, 8, 4, seconds, seconds**2, peak_bytes=10, weight_bytes=99
    )
    return replace(whole, **changes)


def price(prices: Prices, specs: list[TrialSpec], workers: int = 2) -> Price:
    return prices.of(specs, workers, gpus=0.5, utilisation=1.0, start_seconds=0.0)


def test_the_same_kind_is_counted_by_its_mean_in_proportion_to_examples() -> None:
    found = price(Prices([past()]), [spec(seed=n, num_examples=16) for n in range(6)])
    assert found.by_basis == {"method": 6}
    assert found.worker_seconds == pytest.approx(24)
    assert found.wall_seconds == pytest.approx(12)
    assert found.gpu_hours == pytest.approx(12 / 3600)
    assert found.low_seconds < 12 < found.high_seconds


def test_other_methods_are_less_sure_and_unknown_backbones_have_no_price() -> None:
    prices = Prices([past("tome", 1.0), past("evit", 3.0)])
    exact, near = price(prices, [spec("tome")] * 2), price(prices, [spec("pitome")] * 2)
    assert near.by_basis == {"backbone": 2}
    assert near.wall_seconds == pytest.approx(2)
    assert (near.high_seconds - near.low_seconds) / near.wall_seconds > (
        exact.high_seconds - exact.low_seconds
    ) / exact.wall_seconds
    other = examples.spec().model_copy(update={"task": Named(id="recall", version=1)})
    assert price(prices, [other]).by_basis == {"none": 1}


def test_the_interval_holds_what_really_happens_nine_times_in_ten() -> None:
    """Trials of random length, estimated from a few of them."""
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(300):
        seen, coming = rng.gamma(4.0, 0.5, 5), rng.gamma(4.0, 0.5, 20)
        squares = float(np.mean(seen**2))
        prices = Prices([past(seconds=float(seen.mean()), squares=squares, count=5)])
        found = price(prices, [spec(seed=n) for n in range(20)], workers=1)
        inside += found.low_seconds <= coming.sum() <= found.high_seconds
    assert 0.85 <= inside / 300 <= 0.99


def test_the_store_tells_what_past_trials_took(store: Store) -> None:
    trials = [examples.spec(1, seed) for seed in range(3)]
    examples.begin(store, trials)
    results = [
        replace(examples.finished(trial, peak_bytes=100 + n), seconds=1.0 + n)
        for n, trial in enumerate(trials)
    ]
    store.record([examples.failed(trials[0]), *results])
    (found,) = store.past({"digits"})
    assert (found.task, found.backbone, found.method) == ("digits", "vit-digits", "tome")
    assert (found.count, found.num_examples, found.peak_bytes) == (3, 8, 102)
    assert found.seconds == pytest.approx(2.0)
    assert found.variance == pytest.approx(1.0)
    assert store.past({"recall"}) == []
