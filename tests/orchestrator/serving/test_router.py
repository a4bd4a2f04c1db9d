"""Whatever is asked, the chosen configuration fits the budget and no fitting one is better."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.schedule import Uniform
from orchestrator.serving.budget import Budget
from orchestrator.serving.router import (
    NothingFitsError,
    Router,
    UnknownNameError,
    UnroutableError,
    Wish,
)
from orchestrator.serving.schemas import FrontierWorkload
from store.releases.release import Configuration, Release, Workload
from sweeps.trial import Metrics, Named, TrialSpec, Weights

quick = settings(derandomize=True, max_examples=200, deadline=None, database=None)


def configuration(index: int, quality: float, flops: float, **costs: Any) -> Configuration:
    spec = TrialSpec(
        task=Named(id="digits", version=1),
        data="d",
        backbone=Weights(name="b", path="b", fingerprint="f"),
        method=Named(id="tome", version=1),
        schedule=Uniform(),
        keep_ratio=0.5,
        seed=index,
    )
    numbers = dict.fromkeys(Metrics.model_fields)
    numbers |= {"quality": quality, "quality_se": 0.0, "num_examples": 8, "tokens_per_layer": [4]}
    numbers |= {"tokens": 0.5, "flops": flops, "flops_per_example": flops, "peak_bytes": 1}
    numbers |= {"peak_memory": 1.0, "compressor_seconds": 0.0, "compressor_share": 0.0}
    numbers |= {"weights": 1.0, "weight_bytes": 1, "simulated": []}
    return Configuration(trial=spec.id, spec=spec, measured=Metrics(**{**numbers, **costs}))


def workload(name: str, *configurations: Configuration, **objectives: Any) -> Workload:
    ways = objectives or {"quality": "maximize", "flops": "minimize", "kv": "minimize"}
    return Workload(name=name, objectives=ways, configurations=configurations)


def router(*workloads: Workload) -> Router:
    return Router(Release(sweep="s", workloads=workloads))


SMALL, MIDDLE, BIG = (
    configuration(i, q, f, kv=k)
    for i, (q, f, k) in enumerate([(0.5, 0.1, 0.9), (0.8, 0.4, 0.3), (0.97, 1.0, 0.2)])
)
DIGITS = router(workload("digits", SMALL, MIDDLE, BIG))

fractions = st.floats(0, 1).map(lambda x: round(x, 3))
limits = st.floats(1e-6, 10)


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    rows = st.tuples(fractions, fractions, st.none() | fractions)
    drawn = draw(st.lists(rows, min_size=1, max_size=8))
    made = [configuration(i, q, f, kv=k) for i, (q, f, k) in enumerate(drawn)]
    return workload("digits", *made)


@st.composite
def wishes(draw: st.DrawFn) -> Wish:
    named = st.fixed_dictionaries({}, optional={"flops": limits, "kv": limits})
    max_cost = draw(st.none() | limits | named.filter(bool))
    return Wish(max_cost=max_cost, min_quality=draw(st.none() | fractions))


def budget_of(wish: Wish) -> Budget:
    costs = wish.max_cost if isinstance(wish.max_cost, dict) else {"flops": wish.max_cost}
    return Budget({} if wish.max_cost is None else costs, wish.min_quality)


def within(c: Configuration, budget: Budget) -> bool:
    costs = [(c.cost(metric), limit) for metric, limit in budget.max_cost.items()]
    affordable = all(cost is not None and cost <= limit for cost, limit in costs)
    return affordable and (budget.min_quality is None or c.quality >= budget.min_quality)


@quick
@given(workloads(), wishes())
def test_the_choice_fits_and_nothing_that_fits_is_better(served: Workload, wish: Wish) -> None:
    budget = budget_of(wish)
    fitting = [c for c in served.configurations if within(c, budget)]
    try:
        chosen = router(served).route(wish).configuration
    except UnroutableError:
        assert not fitting
        return
    assert chosen in fitting
    if wish.max_cost is None and wish.min_quality is not None:
        assert chosen.measured.flops == min(c.measured.flops for c in fitting)
    else:
        assert chosen.quality == max(c.quality for c in fitting)


@quick
@given(workloads(), wishes())
def test_the_nearest_budget_is_one_that_fits(served: Workload, wish: Wish) -> None:
    refused = refusal(served, wish)
    if isinstance(refused, NothingFitsError):
        nearest = refused.nearest
        assert set(nearest.max_cost) == set(budget_of(wish).max_cost)
        again = Wish(max_cost=dict(nearest.max_cost) or None, min_quality=nearest.min_quality)
        assert router(served).route(again)
        assert str(nearest) in str(refused)
    elif refused is not None:
        assert "not measured" in str(refused)


def refusal(served: Workload, wish: Wish) -> UnroutableError | None:
    try:
        router(served).route(wish)
    except UnroutableError as error:
        return error
    return None


@quick
@given(workloads(), wishes(), st.randoms(use_true_random=False))
def test_equal_requests_get_equal_configurations(
    served: Workload, wish: Wish, shuffling: random.Random
) -> None:
    shuffled = list(served.configurations)
    shuffling.shuffle(shuffled)
    answers = []
    for order in (served.configurations, tuple(shuffled)):
        try:
            route = router(served.model_copy(update={"configurations": order})).route(wish)
            answers.append(route.configuration.trial)
        except UnroutableError as refused:
            answers.append(str(refused))
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        (Wish(), BIG),
        (Wish(max_cost=0.5), MIDDLE),
        (Wish(max_cost=0.4), MIDDLE),
        (Wish(max_cost=0.39), SMALL),
        (Wish(max_cost={"kv": 0.5}), BIG),
        (Wish(max_cost={"kv": 0.5, "flops": 0.5}), MIDDLE),
        (Wish(min_quality=0.5), SMALL),
        (Wish(min_quality=0.6), MIDDLE),
        (Wish(min_quality=0.5, max_cost=0.5), MIDDLE),
        (Wish(configuration=SMALL.trial), SMALL),
        (Wish(workload="digits", configuration=SMALL.trial), SMALL),
    ],
)
def test_the_rule(wish: Wish, expected: Configuration) -> None:
    assert DIGITS.route(wish).configuration == expected


@pytest.mark.parametrize(
    ("wish", "error", "message"),
    [
        (Wish(workload="digit"), UnknownNameError, "did you mean 'digits'"),
        (Wish(configuration=SMALL.trial[:-1]), UnknownNameError, SMALL.trial),
        (Wish(configuration=SMALL.trial, max_cost=1.0), UnroutableError, "not both"),
        (Wish(configuration=SMALL.trial, min_quality=0.0), UnroutableError, "not both"),
        (Wish(max_cost={"flop": 1.0}), UnroutableError, "did you mean 'flops'"),
        (Wish(max_cost={"quality": 1.0}), UnroutableError, "unknown cost"),
        (Wish(max_cost={"latency": 1.0}), UnroutableError, "not measured"),
        (Wish(max_cost=0.05), NothingFitsError, "nearest possible budget: flops <= 0.1$"),
        (Wish(min_quality=0.99), NothingFitsError, "nearest possible budget: quality >= 0.97$"),
        (
            Wish(max_cost=0.5, min_quality=0.9),
            NothingFitsError,
            "nearest possible budget: flops <= 1 and quality >= 0.9$",
        ),
    ],
)
def test_refusals_say_what_would_work(wish: Wish, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        DIGITS.route(wish)


def test_several_workloads_must_be_told_apart() -> None:
    other = configuration(9, 0.6, 0.2)
    both = router(workload("digits", SMALL), workload("recall", other))
    with pytest.raises(UnroutableError, match="digits, recall"):
        both.route(Wish(max_cost=0.5))
    assert both.route(Wish(workload="recall")).configuration == other
    assert both.route(Wish(configuration=other.trial)).workload.name == "recall"
    with pytest.raises(UnknownNameError):
        both.route(Wish(workload="digits", configuration=other.trial))


def test_where_quality_is_minimised_the_smallest_is_best() -> None:
    rough, fine = configuration(0, 1.9, 0.3), configuration(1, 1.8, 1.0)  # bits per byte
    text = router(workload("text", rough, fine, quality="minimize", flops="minimize"))
    assert text.route(Wish()).configuration == fine
    assert text.route(Wish(max_cost=0.5)).configuration == rough
    with pytest.raises(UnroutableError, match="'text' minimises its quality"):
        text.route(Wish(min_quality=0.5))


@pytest.mark.parametrize(
    ("way", "flops_of_the_better"), [("minimize", 0.2), ("maximize", 0.4)], ids=["min", "max"]
)
def test_between_equal_costs_the_better_quality_decides(
    way: str, flops_of_the_better: float
) -> None:
    rough = configuration(0, 1.9, flops=0.4, kv=0.2)
    fine = configuration(1, 1.8, flops=0.2, kv=0.4)
    served = workload("text", rough, fine, quality=way, flops="minimize")
    shown = FrontierWorkload.of(served).configurations
    assert shown[0].measured.flops == flops_of_the_better
    with pytest.raises(NothingFitsError) as refused:
        router(served).route(Wish(max_cost={"flops": 0.1, "kv": 0.1}))  # four times that, for both
    assert refused.value.nearest.max_cost["flops"] == flops_of_the_better


def test_a_bare_number_needs_a_minimised_objective() -> None:
    free = router(workload("digits", SMALL, BIG, quality="maximize"))
    assert free.route(Wish()).configuration == BIG
    assert free.route(Wish(max_cost={"flops": 0.5})).configuration == SMALL
    with pytest.raises(UnroutableError, match="minimises nothing"):
        free.route(Wish(max_cost=0.5))
