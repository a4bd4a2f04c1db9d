"""Mini-Monkey's SCM: crops compete for the text's attention, the thumbnail does not."""

from __future__ import annotations

import pytest

from methods.base import InfeasibleError
from methods.contexts import VisualContext
from methods.vlm.mini_monkey_scm import MiniMonkeySCM
from tests.methods.vlm import plain


def read_by_text(ctx: VisualContext, example: int) -> list[float]:
    assert ctx.attention_BHTN is not None
    assert ctx.visual_T is not None
    rows = [row for row, visual in enumerate(ctx.visual_T.tolist()) if not visual]
    return [
        sum(float(ctx.attention_BHTN[example, :, row, token].mean()) for row in rows)
        for token in range(ctx.num_in)
    ]


@pytest.mark.parametrize("num_keep", [5, 16, 17, 48, 79])
def test_crops_are_cut_before_the_thumbnail(num_keep: int) -> None:
    ctx = plain.context(plain.CROPS, num_keep, layer=2)
    w = MiniMonkeySCM().transform(ctx)
    for example in range(ctx.batch):
        scores = read_by_text(ctx, example)
        thumbnail, *crops = plain.tokens_of(ctx, example)
        chosen = plain.best(scores, thumbnail, min(num_keep, 16))
        chosen += plain.best(scores, sum(crops[1:], crops[0]), num_keep - len(chosen))
        assert plain.kept(w, example) == sorted(chosen)


def test_without_a_thumbnail_all_tokens_compete() -> None:
    ctx = plain.context(plain.SEVERAL, 7, layer=2)
    w = MiniMonkeySCM().transform(ctx)
    for example in range(ctx.batch):
        chosen = plain.best(read_by_text(ctx, example), list(range(36)), 7)
        assert plain.kept(w, example) == sorted(chosen)


def test_there_is_nothing_to_read_at_the_doorstep() -> None:
    with pytest.raises(InfeasibleError, match="mini-monkey-scm reads attention inside"):
        MiniMonkeySCM().transform(plain.context(plain.CROPS, 7))
