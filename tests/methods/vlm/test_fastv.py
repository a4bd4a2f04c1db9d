"""FastV and PyramidDrop: the last token's attention in plain Python, and where they cut."""

from __future__ import annotations

from itertools import pairwise

import pytest

from methods.base import InfeasibleError, ScoringMethod
from methods.contexts import VisualContext
from methods.vlm.fastv import FastV
from methods.vlm.pyramiddrop import PyramidDrop
from tests.methods.vlm import plain

both = pytest.mark.parametrize("method", [FastV(), PyramidDrop()], ids=lambda method: method.id())


def last_token_attention(ctx: VisualContext, example: int) -> list[float]:
    assert ctx.attention_BHTN is not None
    heads = ctx.attention_BHTN[example]
    return [
        sum(float(head[-1, token]) for head in heads) / len(heads) for token in range(ctx.num_in)
    ]


@both
@pytest.mark.parametrize("num_keep", [1, 6, 23])
def test_the_tokens_that_the_last_token_attends_to_are_kept(
    method: ScoringMethod[VisualContext], num_keep: int
) -> None:
    ctx = plain.context(plain.SINGLE, num_keep, layer=2)
    w = method.transform(ctx)
    for example in range(ctx.batch):
        attention = last_token_attention(ctx, example)
        assert plain.kept(w, example) == sorted(plain.best(attention, list(range(24)), num_keep))


@both
def test_what_other_tokens_attend_to_does_not_matter(method: ScoringMethod[VisualContext]) -> None:
    ctx = plain.context(plain.SINGLE, 5, layer=2)
    assert ctx.attention_BHTN is not None
    before = method.transform(ctx).dense()
    ctx.attention_BHTN[:, :, :-1] = ctx.attention_BHTN[:, :, :-1].flip(-1)
    assert method.transform(ctx).dense().equal(before)


@both
def test_there_is_no_attention_at_the_doorstep(method: ScoringMethod[VisualContext]) -> None:
    with pytest.raises(InfeasibleError, match=f"{method.id()} reads attention inside"):
        method.transform(plain.context(plain.SINGLE, 5))


def test_fastv_cuts_once_before_the_third_layer() -> None:
    assert FastV.home.held(0.5, 32) == (1.0,) * 2 + (0.5,) * 30


def test_pyramiddrop_halves_after_every_eight_of_32_layers() -> None:
    held = PyramidDrop.home.held(0.125, 32)
    cuts = [layer for layer, (now, after) in enumerate(pairwise(held), start=1) if after < now]
    assert cuts == [8, 16, 24]
    assert [held[layer] for layer in cuts] == pytest.approx([0.5, 0.25, 0.125])
