"""Token Transforming: our reading of W in plain Python, and that it loses nobody."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cosine_similarity

from methods.vision.attention_topk import AttentionTopK
from methods.vision.token_transforming import TokenTransforming
from tests.methods.contexts import Shape, vision_context


@pytest.mark.parametrize(("num_in", "num_keep"), [(2, 1), (9, 4), (9, 8)])
@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_every_token_is_divided_by_softmaxed_similarity(
    num_in: int, num_keep: int, temperature: float
) -> None:
    ctx = vision_context(Shape(num_in=num_in, num_keep=num_keep))
    dense_BKN = TokenTransforming(temperature=temperature).transform(ctx).dense()
    informative_BK = AttentionTopK().transform(ctx).cols
    for example in range(ctx.batch):
        keys = list(ctx.keys_BHND[example].mean(0))
        kept = informative_BK[example].tolist()
        expected_KN = torch.zeros(num_keep, num_in)
        for j in range(num_in):
            powers = [
                math.exp(float(cosine_similarity(keys[i], keys[j], dim=0)) / temperature)
                for i in kept
            ]
            for row, power in enumerate(powers):
                expected_KN[row, j] = power / sum(powers) * ctx.sizes_BN[example, j]
        expected_KN /= expected_KN.sum(1, keepdim=True)
        torch.testing.assert_close(dense_BKN[example], expected_KN)


def test_the_matrix_is_many_to_many_and_nothing_is_lost() -> None:
    ctx = vision_context(Shape(num_in=20, num_keep=5))
    w = TokenTransforming(temperature=0.5).transform(ctx)
    assert (w.dense() > 0).all()
    torch.testing.assert_close(w.sizes(ctx.sizes_BN).sum(1), ctx.sizes_BN.sum(1))


def test_its_limit_for_low_temperatures_is_exclusive_merging() -> None:
    """The paper's claim that merging is a special form of the same matrix."""
    ctx = vision_context(Shape(num_in=20, num_keep=5))
    dense_BKN = TokenTransforming(temperature=1e-4).transform(ctx).dense()
    assert ((dense_BKN > 1e-6).sum(1) == 1).all()
    kept_BK = AttentionTopK().transform(ctx).cols
    own_BK = dense_BKN.gather(2, kept_BK[..., None])[..., 0]
    assert (own_BK > 0).all()
