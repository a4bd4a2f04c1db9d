"""P-Sigmoid: the question's attention in plain Python, and cuts that follow a sigmoid."""

from __future__ import annotations

import pytest

from methods.schedule import Sigmoid
from methods.vlm.g_search_p_sigmoid import PSigmoid
from tests.methods.vlm import plain


@pytest.mark.parametrize("num_keep", [1, 6, 23])
def test_the_tokens_that_the_question_attends_to_are_kept(num_keep: int) -> None:
    ctx = plain.context(plain.SINGLE, num_keep, layer=3)
    assert ctx.attention_BHTN is not None
    assert ctx.visual_T is not None
    text = [row for row, visual in enumerate(ctx.visual_T.tolist()) if not visual]
    question = [row for row, asks in zip(text, ctx.question_Q.tolist(), strict=True) if asks]
    w = PSigmoid().transform(ctx)
    for example in range(ctx.batch):
        attention = ctx.attention_BHTN[example]
        read = [
            sum(float(attention[:, row, token].sum()) for row in question) for token in range(24)
        ]
        assert plain.kept(w, example) == sorted(plain.best(read, list(range(24)), num_keep))


def test_text_before_the_image_has_no_say() -> None:
    ctx = plain.context(plain.SINGLE, 6, layer=3)
    assert ctx.attention_BHTN is not None
    before = PSigmoid().transform(ctx).dense()
    earlier = ctx.num_in + int((~ctx.question_Q).sum())
    ctx.attention_BHTN[:, :, ctx.num_in : earlier, 0] = 1.0
    assert PSigmoid().transform(ctx).dense().equal(before)


def test_home_spares_the_first_layers_and_meets_the_budget_on_average() -> None:
    held = PSigmoid.home.held(0.25, 32)
    assert PSigmoid.home == Sigmoid()
    assert held[:2] == (1.0, 1.0)
    assert sum(held[2:]) / 30 == pytest.approx(0.25)
    assert held[2] > 0.75
    assert held[-1] < 0.01
