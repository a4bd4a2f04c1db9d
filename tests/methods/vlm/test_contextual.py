"""VisionZip and VisionDrop: dominant and contextual tokens in plain Python."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from methods.contexts import VisualContext, VisualLayout
from methods.vlm.visiondrop import VisionDrop
from methods.vlm.visionzip import VisionZip
from tests.methods.vlm import plain


def slow_step(
    scores: list[float], keys: list[Tensor], hidden: Tensor, tokens: list[int], plan: list[int]
) -> dict[int, Tensor]:
    """Output tokens by the position of the input that gives them their place."""
    num_dominant, num_contextual = plan
    dominant = plain.best(scores, tokens, num_dominant)
    rest = [token for token in tokens if token not in dominant]
    out = {token: hidden[token] for token in dominant}
    if num_contextual == 0:
        return out
    targets = rest[:: max(1, len(rest) // num_contextual)][:num_contextual]
    joined: dict[int, list[int]] = {target: [] for target in targets}
    for token in rest:
        if token not in targets:
            nearest = max(targets, key=lambda target: plain.cosine(keys[token], keys[target]))
            joined[nearest].append(token)
    for target, others in joined.items():
        out[target] = hidden[target] + (hidden[others].mean(0) if others else 0)
    return out


def in_order(out: dict[int, Tensor]) -> Tensor:
    return torch.stack([out[token] for token in sorted(out)])


def plan(budget: int, share: float) -> list[int]:
    contextual = int(budget * share + 0.5)
    return [budget - contextual, contextual]


@pytest.mark.parametrize("layout", plain.LAYOUTS)
@pytest.mark.parametrize(("share", "kept"), [(0.0, 0.4), (10 / 64, 0.4), (0.5, 0.7), (0.4, 0.95)])
def test_visionzip_is_the_papers_algorithm(layout: VisualLayout, share: float, kept: float) -> None:
    ctx = plain.context(layout, int(kept * layout.num_tokens))
    w = VisionZip(contextual_share=share).transform(ctx)
    for example in range(ctx.batch):
        scores = plain.class_attention(ctx, example, ctx.tower.selected)
        keys = [key.mean(0) for key in plain.tower_keys(ctx, example, ctx.tower.selected)]
        images = zip(plain.tokens_of(ctx, example), plain.even(ctx, example), strict=True)
        out: dict[int, Tensor] = {}
        for tokens, budget in images:
            out |= slow_step(scores, keys, ctx.hidden_BND[example], tokens, plan(budget, share))
        torch.testing.assert_close(w(ctx.hidden_BND)[example], in_order(out))


@pytest.mark.parametrize("seed", range(4))
def test_visiondrop_listens_to_visual_tokens_inside(seed: int) -> None:
    ctx = plain.context(plain.SEVERAL, 10, layer=2, lost=9, seed=seed)
    assert ctx.attention_BHTN is not None
    assert ctx.keys_BHND is not None
    assert ctx.visual_T is not None
    w = VisionDrop(contextual_share=0.3).transform(ctx)
    for example in range(ctx.batch):
        rows = [row for row, visual in enumerate(ctx.visual_T.tolist()) if visual]
        scores = [
            sum(float(ctx.attention_BHTN[example, :, row, token].mean()) for row in rows)
            for token in range(ctx.num_in)
        ]
        keys = list(ctx.keys_BHND[example].mean(0))
        hidden, tokens = ctx.hidden_BND[example], list(range(ctx.num_in))
        expected = in_order(slow_step(scores, keys, hidden, tokens, plan(10, 0.3)))
        torch.testing.assert_close(w(ctx.hidden_BND)[example], expected)


def test_visiondrop_is_visionzip_at_the_doorstep() -> None:
    ctx = plain.context(plain.CROPS, 30)
    drop, zipped = VisionDrop(contextual_share=0.2), VisionZip(contextual_share=0.2)
    assert torch.equal(drop.transform(ctx)(ctx.hidden_BND), zipped.transform(ctx)(ctx.hidden_BND))


def test_visiondrop_does_not_hear_the_text() -> None:
    ctx = plain.context(plain.SINGLE, 6, layer=2)
    before = VisionDrop().transform(ctx).dense()
    assert ctx.attention_BHTN is not None
    assert ctx.visual_T is not None
    ctx.attention_BHTN[:, :, ~ctx.visual_T] = torch.rand(3)[0]
    assert torch.equal(VisionDrop().transform(ctx).dense(), before)


def test_what_is_not_dominant_is_still_there() -> None:
    """The paper's claim for contextual tokens: nothing is lost that pruning would lose."""
    ctx: VisualContext = plain.context(plain.SINGLE, 8)
    merged = VisionZip(contextual_share=0.25).transform(ctx).dense().sum(1)
    pruned = VisionZip(contextual_share=0).transform(ctx).dense().sum(1)
    assert (merged > 0).all()
    assert ((pruned > 0).sum(1) == 8).all()
