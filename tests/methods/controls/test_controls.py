"""The controls do exactly what their names say."""

from __future__ import annotations

import pytest
import torch

from methods.controls.average_pooling import AveragePooling
from methods.controls.identity import Identity
from methods.controls.random import Random
from methods.controls.uniform import Uniform
from methods.transform import TokenTransform
from tests.methods.contexts import BUILDERS, Shape, reseeded, single, vision_context

places = pytest.mark.parametrize("place", list(BUILDERS))


@places
def test_identity_keeps_everything_bit_for_bit(place: str) -> None:
    ctx = BUILDERS[place](Shape(num_in=7, num_keep=7))
    w = Identity().transform(ctx)
    tokens_BND = torch.randn(2, 7, 3)
    assert torch.equal(w(tokens_BND), tokens_BND)
    assert torch.equal(w.sizes(ctx.sizes_BN), ctx.sizes_BN)


def test_identity_refuses_to_keep_less() -> None:
    with pytest.raises(ValueError, match=r"keep_ratio 1\.0 only; it was asked to keep 6 of 7"):
        Identity().transform(vision_context(Shape(num_in=7, num_keep=6)))


@pytest.mark.parametrize(
    ("num_in", "num_keep", "kept"),
    [(8, 4, [1, 3, 5, 7]), (9, 3, [1, 4, 7]), (9, 1, [4]), (5, 4, [0, 1, 3, 4]), (2, 1, [1])],
)
def test_uniform_keeps_the_middle_of_equal_stretches(
    num_in: int, num_keep: int, kept: list[int]
) -> None:
    w = Uniform().transform(vision_context(Shape(num_in=num_in, num_keep=num_keep)))
    assert w.cols.tolist() == [kept, kept]


@pytest.mark.parametrize(("num_in", "num_keep"), [(8, 4), (9, 4), (40, 39), (40, 1), (17, 5)])
def test_average_pooling_averages_neighbours_in_groups_of_nearly_equal_length(
    num_in: int, num_keep: int
) -> None:
    ctx = vision_context(Shape(num_in=num_in, num_keep=num_keep))
    w = AveragePooling().transform(ctx)
    assert (w.rows.diff(dim=1) >= 0).all()
    lengths = w.rows[0].bincount(minlength=num_keep)
    assert lengths.max() - lengths.min() <= 1
    ones = torch.ones(2, num_in, 1)
    torch.testing.assert_close(w(ones), torch.ones(2, num_keep, 1))


def test_average_pooling_weighs_tokens_by_what_they_stand_for() -> None:
    ctx = vision_context(Shape(num_in=4, num_keep=2, batch=1))
    ctx.sizes_BN.copy_(torch.tensor([[1.0, 3.0, 2.0, 2.0]]))
    w = AveragePooling().transform(ctx)
    expected = torch.tensor([[[0.25, 0.75, 0, 0], [0, 0, 0.5, 0.5]]])
    torch.testing.assert_close(w.dense(), expected)
    torch.testing.assert_close(w.sizes(ctx.sizes_BN), torch.tensor([[4.0, 4.0]]))


def kept_by_random(num_in: int, num_keep: int, batch: int, seed: int) -> TokenTransform:
    shape = Shape(num_in=num_in, num_keep=num_keep, batch=batch)
    return Random().transform(reseeded(vision_context(shape), seed))


def test_random_keeps_every_token_equally_often() -> None:
    w = kept_by_random(num_in=10, num_keep=3, batch=3000, seed=0)
    share_N = w.dense().sum((0, 1)) / 3000
    # three standard deviations of a share of 0.3 over 3000 draws, and a little for ten tokens
    assert (share_N - 0.3).abs().max() < 0.03


def test_random_draws_differ_between_seeds_and_sequences_and_repeat_with_the_seed() -> None:
    first = kept_by_random(num_in=40, num_keep=20, batch=2, seed=1)
    assert torch.equal(first.cols, kept_by_random(num_in=40, num_keep=20, batch=2, seed=1).cols)
    assert not torch.equal(first.cols, kept_by_random(num_in=40, num_keep=20, batch=2, seed=2).cols)
    assert not torch.equal(first.cols[0], first.cols[1])


@places
def test_the_first_sequence_of_a_batch_draws_what_it_would_draw_alone(place: str) -> None:
    ctx = BUILDERS[place](Shape(num_in=40, num_keep=20))
    alone = Random().transform(single(ctx, 0, seed=5))
    assert torch.equal(Random().transform(reseeded(ctx, 5)).cols[:1], alone.cols)
