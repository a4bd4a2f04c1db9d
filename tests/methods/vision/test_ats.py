"""ATS: score and sampling in plain Python; what sampling keeps that a top-k would not."""

from __future__ import annotations

import math

import pytest
import torch

from methods.base import top_indices
from methods.vision.ats import ATS, sample
from tests.methods.contexts import Shape, vision_context


def slow_score(attention: list[list[float]], values: list[list[list[float]]]) -> list[float]:
    """Attention times value norm, normalised; [head][token] and [head][token][channel]."""
    count = len(attention[0])
    products = [
        sum(head[i] for head in attention)
        * math.sqrt(sum(x * x for head in values for x in head[i]))
        for i in range(count)
    ]
    return [product / sum(products) for product in products]


def slow_sample(score: list[float], num_keep: int) -> set[int]:
    drawn: set[int] = set()
    while len(drawn) < num_keep:
        rest = sorted((i for i in range(len(score)) if i not in drawn), key=lambda i: score[i])
        total = sum(score[i] for i in rest)
        missing = num_keep - len(drawn)
        for k in range(1, missing + 1):
            reached = 0.0
            for i in rest:
                reached += score[i] / total
                if reached >= (2 * k - 1) / (2 * missing):
                    drawn.add(i)
                    break
    return drawn


@pytest.mark.parametrize("seed", range(3))
def test_score_is_attention_times_value_norm(seed: int) -> None:
    ctx = vision_context(Shape(num_in=11, num_keep=5, heads=3, seed=seed))
    assert ctx.cls_attention_BHN is not None
    assert ctx.values_BHND is not None
    score_BN = ATS().score(ctx)
    for example in range(ctx.batch):
        expected = slow_score(
            ctx.cls_attention_BHN[example].tolist(), ctx.values_BHND[example].tolist()
        )
        torch.testing.assert_close(score_BN[example], torch.tensor(expected))


@pytest.mark.parametrize(("num_in", "num_keep"), [(2, 1), (9, 1), (9, 8), (30, 9)])
@pytest.mark.parametrize("seed", range(3))
def test_the_sample_is_inverse_transform_sampling(num_in: int, num_keep: int, seed: int) -> None:
    ctx = vision_context(Shape(num_in=num_in, num_keep=num_keep, seed=seed, batch=3))
    kept_BK, score_BN = ATS().transform(ctx).cols, ATS().score(ctx)
    for example in range(ctx.batch):
        expected = slow_sample(score_BN[example].tolist(), num_keep)
        assert kept_BK[example].tolist() == sorted(expected)


@pytest.mark.parametrize("num_keep", [2, 4, 7])
def test_a_token_of_one_points_share_is_always_kept(num_keep: int) -> None:
    draw = torch.Generator().manual_seed(0)
    score_BN = torch.rand(50, 20, generator=draw).pow(8)
    score_BN = score_BN / score_BN.sum(1, keepdim=True)
    certain_BN = score_BN > 1 / num_keep
    assert certain_BN.any()
    assert sample(score_BN, num_keep)[certain_BN].all()


def test_many_modest_tokens_are_represented_although_each_is_below_the_best() -> None:
    score_BN = torch.tensor([[0.1] * 4 + [0.05] * 12])
    assert top_indices(score_BN, 4).tolist() == [[0, 1, 2, 3]]
    drawn_BN = sample(score_BN, 4)
    assert drawn_BN[0, 4:].sum() == 2


def test_tokens_without_any_attention_fill_the_budget() -> None:
    ctx = vision_context(Shape(num_in=8, num_keep=5))
    assert ctx.cls_attention_BHN is not None
    ctx.cls_attention_BHN.zero_()
    ctx.cls_attention_BHN[..., 3] = 1.0
    kept_BK = ATS().transform(ctx).cols
    assert (kept_BK == 3).any(1).all()
