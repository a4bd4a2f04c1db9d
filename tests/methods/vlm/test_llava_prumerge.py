"""LLaVA-PruMerge: selection, merging and adaptive budgets in plain Python."""

from __future__ import annotations

import pytest
import torch

from methods.contexts import VisualContext, VisualLayout
from methods.vlm._outliers import outliers
from methods.vlm.llava_prumerge import LLaVAPruMerge
from tests.methods.vlm import plain


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    low, part = divmod(share * (len(ordered) - 1), 1)
    high = min(int(low) + 1, len(ordered) - 1)
    return ordered[int(low)] * (1 - part) + ordered[high] * part


def num_outliers(values: list[float]) -> int:
    first, third = quantile(values, 0.25), quantile(values, 0.75)
    return sum(value > third + 1.5 * (third - first) for value in values)


def attention_of_images(ctx: VisualContext, example: int) -> list[list[float]]:
    return plain.stored(ctx.tower.cls_attention_LBIHP)[ctx.tower.selected, example].mean(1).tolist()


@pytest.mark.parametrize("layout", plain.LAYOUTS)
@pytest.mark.parametrize("num_neighbors", [0, 3, 32])
def test_selected_tokens_take_up_their_nearest_keys(
    layout: VisualLayout, num_neighbors: int
) -> None:
    ctx = plain.context(layout, layout.num_tokens // 3, seed=2)
    w = LLaVAPruMerge(num_neighbors=num_neighbors).transform(ctx)
    for example in range(ctx.batch):
        attention = plain.class_attention(ctx, example, ctx.tower.selected)
        keys = plain.tower_keys(ctx, example, ctx.tower.selected)
        images = plain.tokens_of(ctx, example)
        counts = [num_outliers(values) for values in attention_of_images(ctx, example)]
        weights = [float(count) for count in counts] if any(counts) else [1.0] * len(counts)
        shares = plain.budgets([w or 1e-12 for w in weights], [*map(len, images)], ctx.num_keep)
        rows = {}
        for tokens, share in zip(images, shares, strict=True):
            for chosen in plain.best(attention, tokens, share):
                near = sorted(
                    (token for token in tokens if token != chosen),
                    key=lambda token: -plain.cosine(keys[chosen], keys[token]),
                )[:num_neighbors]
                merged = sum(attention[token] * ctx.hidden_BND[example, token] for token in near)
                rows[chosen] = ctx.hidden_BND[example, chosen] + merged
        expected = torch.stack([rows[token] for token in sorted(rows)])
        torch.testing.assert_close(w(ctx.hidden_BND)[example], expected)


def test_outliers_are_those_of_a_box_plot() -> None:
    values_BIP = torch.tensor([[[1.0, 2, 3, 4, 5, 100], [1, 2, 3, 4, 5, 6]]])
    assert outliers(values_BIP).tolist() == [[[False] * 5 + [True], [False] * 6]]


def test_an_image_with_more_to_see_keeps_more() -> None:
    """The paper's claim: the number of tokens adapts to the image's complexity."""
    ctx = plain.context(plain.SEVERAL, 12)
    plain.stored(ctx.tower.cls_attention_LBIHP).fill_(0.01)
    plain.stored(ctx.tower.cls_attention_LBIHP)[:, :, 0, :, :1] = 0.5
    plain.stored(ctx.tower.cls_attention_LBIHP)[:, :, 1, :, :2] = 0.5
    plain.stored(ctx.tower.cls_attention_LBIHP)[:, :, 2, :, :1] = 0.5
    assert LLaVAPruMerge().budgets(ctx).tolist() == [[3, 6, 3]] * 2
