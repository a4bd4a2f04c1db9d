"""Suggestions become ordinary trials: the same whoever is faster, and none measured twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.measurement.trial import run_trial
from orchestrator.search.searching import searching
from orchestrator.search.tuning import TuneFeed
from store.repository import Store
from sweeps.load import parse_sweep
from sweeps.plan import plan
from sweeps.rungs import Suggestions, searched
from sweeps.space import Space
from sweeps.trial import BASELINE, TrialResult, TrialSpec
from tests.orchestrator import trials as made_up

SWEEP = """
name: tuned
seeds: [0, 1]
keep: [{{from: 0.05, to: 0.9, steps: 2}}, 8x]
methods: [divprune, {{tome: {{round_share: [0.2, 0.5]}}}}, random]
schedules: [paper, uniform]
objectives: {{quality: maximize, flops: minimize}}
measure: {{latency_pairs: 0}}
search: {{strategy: tune, algorithm: {algorithm}, num_trials: 8, at_once: 3}}
workloads:
  digits:
    task: {{id: digits, num_examples: 8}}
    backbone: vit-digits
"""
METHODS = "[divprune, {{tome: {{round_share: [0.2, 0.5]}}}}, random]"
Take = Callable[[list[TrialSpec]], TrialSpec]


def feed(store: Store, algorithm: str = "optuna", text: str = SWEEP) -> TuneFeed:
    spec = parse_sweep(text.format(algorithm=algorithm))
    search = searching(store, spec, plan(spec))
    assert isinstance(search, TuneFeed)
    rows = search.first_plan()
    store.begin_sweep(spec.name, "", spec.resolved(), rows, [])
    return search


def drive(
    store: Store,
    search: TuneFeed,
    take: Take = lambda waiting: waiting.pop(0),
    runner: Callable[[TrialSpec], TrialResult] = made_up.measure,
    stop_after: int | None = None,
) -> int:
    """Run what is asked for, one trial at a time; how many."""
    waiting, ran = list(search.begin()), 0
    while waiting and ran != stop_after:
        result = runner(take(waiting))
        store.record([result])
        waiting += search.after(result)
        ran += 1
    return ran


@pytest.mark.parametrize("algorithm", ["optuna", "nsga2", "random"])
def test_the_order_of_results_changes_nothing(tmp_path: Path, algorithm: str) -> None:
    stores = [Store(f"sqlite:///{tmp_path}/{name}.db") for name in ("first", "other")]
    searches = [feed(store, algorithm) for store in stores]
    drive(stores[0], searches[0])
    drive(stores[1], searches[1], take=lambda waiting: waiting.pop())
    assert list(searches[0].trials) == list(searches[1].trials)
    methods = [trial.spec.method.id for trial in searches[0].trials.values()]
    assert methods.count(BASELINE) == 2
    assert len(set(methods)) > 2


def test_killed_anywhere_it_ends_with_the_same_trials(tmp_path: Path) -> None:
    whole, broken = (Store(f"sqlite:///{tmp_path}/{name}.db") for name in ("whole", "broken"))
    reference = feed(whole)
    everything = drive(whole, reference)
    first = drive(broken, feed(broken), stop_after=7)
    resumed = feed(broken)
    rest = drive(broken, resumed)
    assert (first, first + rest) == (7, everything)
    assert list(resumed.trials) == list(reference.trials)
    assert resumed.reused == 7


def test_suggestions_really_run(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path}/real.db") as store:
        search = feed(store)
        drive(store, search, runner=run_trial)
        points = store.points("tuned")
        assert store.failures("tuned") == []
    assert {point.trial for point in points} == set(search.trials)
    ratios = {p.keep_ratio for p in points}
    assert any(ratio not in (0.05, 0.125, 0.9, 1.0) for ratio in ratios), "between the ends"
    shares = {p.hyperparameters["round_share"] for p in points if p.method == "tome"}
    assert all(0.2 <= share <= 0.5 for share in shares)


@pytest.mark.parametrize("more", ["", "    exclude: [tome]\n"], ids=["baseline", "excluded"])
def test_with_nothing_to_choose_only_the_uncompressed_model_runs(tmp_path: Path, more: str) -> None:
    text = SWEEP.replace(METHODS, "[tome]" if more else "[identity]") + more
    with Store(f"sqlite:///{tmp_path}/nothing.db") as store:
        search = feed(store, text=text)
        assert drive(store, search) == 2
    spec = parse_sweep(text.format(algorithm="random"))
    _, price = searched(spec, plan(spec))
    assert isinstance(price, Suggestions)
    assert price.at_most == 2


def test_suggestions_that_cannot_run_are_listed(tmp_path: Path) -> None:
    text = SWEEP.replace("8x]", "9999 tokens]")
    with Store(f"sqlite:///{tmp_path}/refused.db") as store:
        for search in (feed(store, "random", text), feed(store, "random", text)):
            drive(store, search)
            listed = store.impossible("tuned")
            assert listed == [each._asdict() for each in search.impossible]
            assert {(row["keep"], row["seed"]) for row in listed} == {
                ("9999 tokens", 0),
                ("9999 tokens", 1),
            }
            assert "9999" in listed[0]["reason"]


@pytest.mark.parametrize("limit", [1, 2, 7, 100])
def test_no_more_trials_than_the_budget_has(tmp_path: Path, limit: int) -> None:
    text = SWEEP + f"budget: {{{{max_trials: {limit}}}}}\n"
    with Store(f"sqlite:///{tmp_path}/{limit}.db") as store:
        ran = drive(store, feed(store, "random", text))
    most = min(limit, 2 + 8 * 2)
    assert most - 2 < ran <= most
    spec = parse_sweep(text.format(algorithm="random"))
    _, price = searched(spec, plan(spec))
    assert isinstance(price, Suggestions)
    assert ran <= price.at_most <= most


def test_a_space_asks_only_for_what_matters() -> None:
    class First:
        """Takes the first of everything."""

        def __init__(self) -> None:
            self.asked: dict[str, object] = {}

        def choice(self, name: str, labels: list[str]) -> str:
            self.asked[name] = labels
            return labels[0]

        def number(self, name: str, ends: tuple[float, float], log: bool) -> float:
            self.asked[name] = (*ends, log)
            return ends[0]

    asker = First()
    spec = parse_sweep(SWEEP.format(algorithm="optuna"))
    Space(spec, "digits").ask(asker)
    assert asker.asked == {
        "method": ["divprune", "tome", "random"],
        "schedule": ["paper", "uniform"],
        "keep": ["0.05 to 0.9", "8x"],
        "keep_ratio 0.05 to 0.9": (0.05, 0.9, True),
    }
