"""DART: pivots and the tokens least similar to them in plain Python."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from methods.contexts import VisualContext
from methods.vlm.dart import DART
from tests.methods.vlm import plain


def norms(ctx: VisualContext, example: int) -> list[float]:
    if ctx.keys_BHND is None:
        return [float(token.abs().sum()) for token in ctx.hidden_BND[example]]
    return [float(ctx.keys_BHND[example, :, token].abs().sum()) for token in range(ctx.num_in)]


def question_pivots(ctx: VisualContext, example: int, count: int) -> list[Tensor]:
    question = ctx.text_BQD[example, ctx.question_Q]
    sizes = [float(token.abs().sum()) for token in question]
    return [question[i] for i in sorted(plain.best(sizes, list(range(len(sizes))), count))]


def slow_selection(ctx: VisualContext, example: int, visual: int, text: int) -> list[int]:
    hidden, everyone = ctx.hidden_BND[example], list(range(ctx.num_in))
    own = sorted(plain.best(norms(ctx, example), everyone, min(visual, (ctx.num_keep + 1) // 2)))
    pivots = [hidden[token] for token in own] + question_pivots(ctx, example, text)
    chosen = list(own)
    for turn, pivot in enumerate(pivots):
        share = (ctx.num_keep - len(own) + len(pivots) - 1 - turn) // len(pivots)
        distances = [-plain.cosine(hidden[token], pivot) for token in everyone]
        fresh = [token for token in everyone if token not in chosen]
        chosen += plain.best(distances, fresh, share)
    return sorted(chosen)


@pytest.mark.parametrize("layer", [0, 2])
@pytest.mark.parametrize("num_keep", [1, 2, 5, 12, 23])
@pytest.mark.parametrize(("visual", "text"), [(4, 4), (1, 0), (3, 2)])
def test_selection_is_the_papers(layer: int, num_keep: int, visual: int, text: int) -> None:
    ctx = plain.context(plain.SINGLE, num_keep, layer=layer, seed=num_keep)
    w = DART(visual_pivots=visual, text_pivots=text).transform(ctx)
    for example in range(ctx.batch):
        assert plain.kept(w, example) == slow_selection(ctx, example, visual, text)


def test_duplicates_of_a_pivot_go_first() -> None:
    """The paper's claim: what is kept duplicates less than what is dropped."""
    ctx = plain.context(plain.SINGLE, 9, layer=2)
    assert ctx.keys_BHND is not None
    ctx.keys_BHND[:, :, 0] = 50.0
    ctx.hidden_BND[:, 1:16] = ctx.hidden_BND[:, :1] + 0.01 * ctx.hidden_BND[:, 1:16]
    kept_BK = DART(visual_pivots=1, text_pivots=0).transform(ctx).dense().argmax(2)
    assert kept_BK.tolist() == [[0, *range(16, 24)]] * 2


def test_a_prompt_without_question_has_visual_pivots_only() -> None:
    ctx = plain.context(plain.SINGLE, 9, layer=2)
    with_question = DART(text_pivots=0).transform(ctx).dense()
    ctx.question_Q.fill_(False)
    assert torch.equal(DART(text_pivots=4).transform(ctx).dense(), with_question)
