"""Token-level correlation: information density, budgets and the two kinds of mining."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from methods.contexts import VisualContext
from methods.vlm._outliers import outliers
from methods.vlm.token_correlation_doc import TokenCorrelationDoc
from tests.methods.vlm import plain


def slow_density(ctx: VisualContext, example: int, image: int, above: float, crowd: float) -> float:
    keys = plain.stored(ctx.tower.keys_LBIHPD)[0, example, image].mean(0)
    count = len(keys)
    alike = [
        sum(plain.cosine(keys[i], keys[j]) > above for j in range(count) if j != i)
        for i in range(count)
    ]
    return sum(number <= crowd * (count - 1) for number in alike) / count


def reseeded(ctx: VisualContext, seed: int) -> VisualContext:
    return replace(ctx, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("above", "crowd"), [(0.3, 0.2), (0.0, 0.4), (0.75, 0.0)])
def test_density_is_the_share_of_patches_unlike_most_others(above: float, crowd: float) -> None:
    ctx = plain.context(plain.CROPS, 30)
    method = TokenCorrelationDoc(similarity=above, crowd=crowd)
    density_BI, budgets_BI = method.density(ctx), method.budgets(ctx)
    for example in range(ctx.batch):
        expected = [slow_density(ctx, example, image, above, crowd) for image in range(5)]
        torch.testing.assert_close(density_BI[example], torch.tensor(expected))
        weights = [round(share * 16) / 1.0 for share in expected]
        assert budgets_BI[example].tolist() == plain.budgets(weights, [16] * 5, 30)


def test_a_dense_crop_keeps_more_than_a_blank_one() -> None:
    ctx = plain.context(plain.CROPS, 30)
    plain.stored(ctx.tower.keys_LBIHPD)[:, :, 3] = 1.0
    budgets_BI = TokenCorrelationDoc().budgets(ctx)
    assert (budgets_BI[:, 3] == 0).all()
    assert budgets_BI.sum(1).tolist() == [30, 30]


def test_outliers_of_the_deep_layer_are_always_kept() -> None:
    ctx = plain.context(plain.SINGLE, 6)
    plain.stored(ctx.tower.cls_attention_LBIHP)[1] = 0.01
    plain.stored(ctx.tower.cls_attention_LBIHP)[1, ..., [3, 17]] = 0.3
    assert outliers(plain.stored(ctx.tower.cls_attention_LBIHP)[1].mean(2)).sum() == 4
    for seed in range(5):
        w = TokenCorrelationDoc().transform(reseeded(ctx, seed))
        assert all({3, 17} <= set(plain.kept(w, example)) for example in range(ctx.batch))


def test_the_rest_is_sampled_by_attention_of_the_low_layer() -> None:
    """Of two patches, one with three times the other's attention is drawn three times as often."""
    ctx = plain.context(plain.SINGLE, 1)
    plain.stored(ctx.tower.cls_attention_LBIHP)[1] = 0.04
    plain.stored(ctx.tower.cls_attention_LBIHP)[0] = 0.0
    plain.stored(ctx.tower.cls_attention_LBIHP)[0, ..., 5] = 0.75
    plain.stored(ctx.tower.cls_attention_LBIHP)[0, ..., 9] = 0.25
    drawn = []
    for seed in range(200):
        w = TokenCorrelationDoc().transform(reseeded(ctx, seed))
        drawn += [plain.kept(w, example)[0] for example in range(ctx.batch)]
    assert set(drawn) == {5, 9}
    assert 0.68 < drawn.count(5) / len(drawn) < 0.82
