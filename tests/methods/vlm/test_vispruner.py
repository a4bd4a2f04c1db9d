"""VisPruner: important tokens, and duplicates removed round by round in plain Python."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from methods.contexts import VisualContext, VisualLayout
from methods.vlm.vispruner import VisPruner
from tests.methods.vlm import plain


def features(ctx: VisualContext, example: int) -> list[Tensor]:
    flat = ctx.tower.hidden_BIPD[example].flatten(0, 1)
    return [flat[at] for at in ctx.origin_BN[example].tolist()]


def slow_distinct(queue: list[int], seen: list[Tensor], wanted: int, round_size: int) -> list[int]:
    if wanted == 0:
        return []
    while len(queue) > wanted:
        a, b = queue[::2], queue[1::2]
        duplicates = min(round_size, len(queue) - wanted, len(b))
        nearness = {x: max(plain.cosine(seen[x], seen[y]) for y in b) for x in a}
        queue = sorted(a, key=lambda x: -nearness[x])[duplicates:] + b
    return queue


@pytest.mark.parametrize("layout", plain.LAYOUTS)
@pytest.mark.parametrize(("important", "kept"), [(0.5, 0.2), (0.5, 0.7), (0.0, 0.3), (1.0, 0.3)])
@pytest.mark.parametrize("round_size", [1, 3, 8])
def test_important_and_distinct_tokens_are_the_papers(
    layout: VisualLayout, important: float, kept: float, round_size: int
) -> None:
    ctx = plain.context(layout, int(kept * layout.num_tokens), seed=round_size)
    w = VisPruner(important_share=important, round_size=round_size).transform(ctx)
    for example in range(ctx.batch):
        scores = plain.class_attention(ctx, example, ctx.tower.selected)
        seen, chosen = features(ctx, example), []
        images = zip(plain.tokens_of(ctx, example), plain.even(ctx, example), strict=True)
        for tokens, budget in images:
            order = plain.best(scores, tokens, len(tokens))
            first = int(budget * important)
            chosen += order[:first]
            chosen += slow_distinct(order[first:], seen, budget - first, round_size)
        assert plain.kept(w, example) == sorted(chosen)


def test_tokens_that_are_left_inside_the_language_model_are_pruned_further() -> None:
    ctx = plain.context(plain.CROPS, 9, layer=2, lost=50)
    w = VisPruner(round_size=2).transform(ctx)
    for example in range(ctx.batch):
        scores, seen = plain.class_attention(ctx, example, 1), features(ctx, example)
        chosen = []
        images = zip(plain.tokens_of(ctx, example), plain.even(ctx, example), strict=True)
        for tokens, budget in images:
            order = plain.best(scores, tokens, len(tokens))
            chosen += order[: budget // 2]
            chosen += slow_distinct(order[budget // 2 :], seen, budget - budget // 2, 2)
        assert plain.kept(w, example) == sorted(chosen)


def test_among_unimportant_tokens_those_of_their_own_kind_outlive_duplicates() -> None:
    """Important tokens cover one kind only; of four loners, all but perhaps one are found."""
    ctx = plain.context(plain.SINGLE, 10)
    kinds = torch.zeros(24, dtype=torch.long)
    kinds[20:] = torch.arange(1, 5)
    ctx.tower.hidden_BIPD.copy_(torch.eye(8)[kinds])
    plain.stored(ctx.tower.cls_attention_LBIHP).copy_(torch.linspace(0.04, 0.01, 24))
    for example in range(ctx.batch):
        by_attention = plain.kept(VisPruner(important_share=1).transform(ctx), example)
        assert not {20, 21, 22, 23} & set(by_attention)
        half_diverse = plain.kept(VisPruner(round_size=1).transform(ctx), example)
        assert len({20, 21, 22, 23} & set(half_diverse)) >= 3
