"""Schedules: what each layer holds, for any ratio and any depth."""

from __future__ import annotations

from itertools import pairwise
from math import log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from methods.schedule import (
    OneLayer,
    Progressive,
    Pyramid,
    Schedule,
    Sigmoid,
    Stages,
    Uniform,
    num_held,
)

quick = settings(derandomize=True, max_examples=50, deadline=None, database=None)
adapter: TypeAdapter[Schedule] = TypeAdapter(Schedule)

ratios = st.floats(0.01, 1.0)
depths = st.integers(2, 40)
to_the_ratio = st.sampled_from(
    [
        Uniform(),
        OneLayer(),
        OneLayer(layer=0),
        Progressive(),
        Stages(),
        Stages(depths=(0, 0.3, 0.9), shares=(3, 1, 2)),
    ]
)
pyramids = st.builds(Pyramid, beta=st.floats(1, 100))
sigmoids = st.builds(Sigmoid, steepness=st.floats(0, 100), first=st.integers(0, 1))
schedules = to_the_ratio | pyramids | sigmoids


@quick
@given(schedule=schedules, keep_ratio=ratios, num_layers=depths)
def test_layers_hold_something_and_never_more_than_the_one_before(
    schedule: Schedule, keep_ratio: float, num_layers: int
) -> None:
    held = schedule.held(keep_ratio, num_layers)
    assert len(held) == num_layers
    assert all(before >= after for before, after in pairwise(held))
    assert min(held) > 0
    assert max(held) <= 1


@quick
@given(schedule=to_the_ratio, keep_ratio=ratios, num_layers=depths)
def test_the_last_layer_holds_the_ratio(
    schedule: Schedule, keep_ratio: float, num_layers: int
) -> None:
    assert schedule.held(keep_ratio, num_layers)[-1] == pytest.approx(keep_ratio)


@quick
@given(pyramid=pyramids, keep_ratio=ratios, num_layers=st.integers(1, 40))
def test_a_pyramid_holds_the_ratio_on_average_and_falls_in_equal_steps(
    pyramid: Pyramid, keep_ratio: float, num_layers: int
) -> None:
    held = pyramid.held(keep_ratio, num_layers)
    assert sum(held) / num_layers == pytest.approx(keep_ratio)
    steps = [before - after for before, after in pairwise(held)]
    assert steps == pytest.approx([steps[0]] * len(steps)) if steps else num_layers == 1


def test_the_top_of_a_pyramid_is_beta_times_smaller_than_the_mean() -> None:
    assert Pyramid(beta=4).held(0.2, 3) == pytest.approx((0.35, 0.2, 0.05))
    assert Pyramid(beta=1).held(0.2, 3) == pytest.approx((0.2, 0.2, 0.2))


def test_a_base_that_would_be_wider_than_everything_gives_the_rest_to_the_top() -> None:
    assert Pyramid(beta=20).held(0.75, 3) == pytest.approx((1.0, 0.75, 0.5))


@quick
@given(sigmoid=sigmoids, keep_ratio=ratios, num_layers=depths)
def test_a_sigmoid_holds_the_ratio_on_average_over_the_layers_it_cuts(
    sigmoid: Sigmoid, keep_ratio: float, num_layers: int
) -> None:
    held = sigmoid.held(keep_ratio, num_layers)
    assert held[: sigmoid.first] == (1.0,) * sigmoid.first
    cut = held[sigmoid.first :]
    assert sum(cut) / len(cut) == pytest.approx(keep_ratio)


@pytest.mark.parametrize("keep_ratio", [0.1, 0.5, 0.8])
def test_log_odds_under_a_sigmoid_fall_by_its_steepness_in_equal_steps(keep_ratio: float) -> None:
    cut = Sigmoid(steepness=6, first=1).held(keep_ratio, 5)[1:]
    odds = [log(share / (1 - share)) for share in cut]
    steps = [before - after for before, after in pairwise(odds)]
    assert steps == pytest.approx([2.0] * 3)


def test_a_flat_sigmoid_is_one_cut() -> None:
    assert Sigmoid(steepness=0).held(0.25, 4) == pytest.approx((1, 1, 0.25, 0.25))


def test_stages_cut_by_equal_factors_at_quarters_of_the_depth() -> None:
    assert Stages().held(0.125, 8) == pytest.approx((1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125))


def test_stages_fall_on_the_layers_their_paper_names() -> None:
    sparse = Stages(depths=(2 / 32, 6 / 32, 15 / 32)).held(0.125, 32)
    cuts = [layer for layer in range(1, 32) if sparse[layer] < sparse[layer - 1]]
    assert cuts == [2, 6, 15]


def test_shares_divide_the_cut_among_stages() -> None:
    stages = Stages(depths=(0, 0.5), shares=(2, 1))
    assert stages.held(0.125, 4) == pytest.approx((0.25, 0.25, 0.125, 0.125))


def test_stages_that_fall_on_one_layer_of_a_shallow_model_become_one_cut() -> None:
    assert Stages(depths=(0.6, 0.75, 0.9)).held(0.125, 2) == pytest.approx((1, 0.125))


def test_stages_must_be_in_order_and_shares_must_fit() -> None:
    with pytest.raises(ValidationError, match="depths must increase"):
        Stages(depths=(0.5, 0.25))
    with pytest.raises(ValidationError, match="1 shares do not fit 2 depths"):
        Stages(depths=(0.25, 0.5), shares=(1,))


@quick
@given(schedule=schedules, num_layers=depths)
def test_ratio_one_holds_exactly_everything(schedule: Schedule, num_layers: int) -> None:
    assert schedule.held(1.0, num_layers) == (1.0,) * num_layers


def test_uniform_holds_the_ratio_everywhere() -> None:
    assert Uniform().held(0.25, 3) == (0.25, 0.25, 0.25)


def test_one_layer_cuts_once() -> None:
    assert OneLayer(layer=2).held(0.25, 4) == (1.0, 1.0, 0.25, 0.25)


def test_progressive_cuts_by_equal_factors_and_spares_the_final_layer() -> None:
    assert Progressive().held(0.25, 5) == pytest.approx((0.25**0.25, 0.5, 0.25**0.75, 0.25, 0.25))
    assert Progressive(first=1, last=2).held(0.25, 4) == pytest.approx((1.0, 0.5, 0.25, 0.25))
    assert Progressive(first=1, last=-1).held(0.25, 3) == pytest.approx((1.0, 0.5, 0.25))


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (OneLayer(layer=4), "layer 4 does not exist: the model has 4 layers"),
        (Progressive(last=4), "last 4 does not exist: the model has 4 layers"),
        (Progressive(last=-5), "last -1 does not exist: the model has 4 layers"),
        (Sigmoid(first=4), "first 4 does not exist: the model has 4 layers"),
        (Progressive(first=3), "starts in layer 3 but ends in layer 2 of 4"),
    ],
)
def test_a_schedule_that_does_not_fit_says_why(schedule: Schedule, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        schedule.held(0.5, 4)


@pytest.mark.parametrize(
    "schedule",
    [
        Uniform(),
        OneLayer(layer=3),
        Progressive(),
        Progressive(first=1, last=4),
        Pyramid(beta=5),
        Stages(depths=(0, 0.25), shares=(1, 2)),
        Sigmoid(steepness=3),
    ],
)
def test_schedules_survive_json(schedule: Schedule) -> None:
    assert adapter.validate_json(schedule.model_dump_json()) == schedule


def test_unknown_kinds_and_fields_are_refused() -> None:
    with pytest.raises(ValidationError, match="zigzag"):
        adapter.validate_python({"kind": "zigzag"})
    with pytest.raises(ValidationError, match="layer"):
        adapter.validate_python({"kind": "uniform", "layer": 1})


def test_labels_differ_wherever_schedules_differ() -> None:
    different = [
        Uniform(),
        OneLayer(layer=0),
        OneLayer(layer=1),
        Progressive(),
        Progressive(first=1),
        Progressive(last=-1),
        Pyramid(),
        Pyramid(beta=2),
        Stages(),
        Stages(depths=(0.5,)),
        Stages(depths=(0.25, 0.5, 0.75), shares=(1, 1, 2)),
        Sigmoid(),
        Sigmoid(steepness=3),
        Sigmoid(first=1),
    ]
    assert len({schedule.label for schedule in different}) == len(different)


@pytest.mark.parametrize(
    ("fraction", "num_tokens", "expected"),
    [(1.0, 64, 64), (0.5, 5, 3), (0.05, 64, 3), (0.001, 64, 1), (0.25, 64, 16)],
)
def test_a_fraction_is_rounded_half_up_to_at_least_one_token(
    fraction: float, num_tokens: int, expected: int
) -> None:
    assert num_held(fraction, num_tokens) == expected
