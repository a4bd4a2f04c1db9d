"""EViT: its fused token against the equation in plain Python, and its limits."""

from __future__ import annotations

import pytest
import torch

from methods.vision.attention_topk import AttentionTopK
from methods.vision.evit import EViT
from tests.methods.contexts import Shape, vision_context


@pytest.mark.parametrize(("num_in", "num_keep"), [(2, 1), (9, 1), (9, 4), (16, 15)])
def test_the_last_row_is_the_attention_weighted_average_of_the_rest(
    num_in: int, num_keep: int
) -> None:
    ctx = vision_context(Shape(num_in=num_in, num_keep=num_keep))
    assert ctx.cls_attention_BHN is not None
    dense_BKN = EViT().transform(ctx).dense()

    for example in range(ctx.batch):
        heads = ctx.cls_attention_BHN[example].tolist()
        attention = [sum(column) / len(heads) for column in zip(*heads, strict=True)]
        by_attention = sorted(range(num_in), key=lambda i: -attention[i])
        attentive = sorted(by_attention[: num_keep - 1])
        rest = by_attention[num_keep - 1 :]
        expected_KN = torch.zeros(num_keep, num_in)
        for row, i in enumerate(attentive):
            expected_KN[row, i] = 1
        for i in rest:
            expected_KN[-1, i] = attention[i] / sum(attention[j] for j in rest)
        torch.testing.assert_close(dense_BKN[example], expected_KN)


def test_attentive_patches_are_those_of_attention_topk() -> None:
    fused = vision_context(Shape(num_in=20, num_keep=8))
    pruned = vision_context(Shape(num_in=20, num_keep=7))
    attentive = EViT().transform(fused).dense()[:, :-1]
    assert torch.equal(attentive, AttentionTopK().transform(pruned).dense())


def test_inattentive_patches_without_any_attention_are_averaged_equally() -> None:
    ctx = vision_context(Shape(num_in=6, num_keep=3))
    assert ctx.cls_attention_BHN is not None
    ctx.cls_attention_BHN[..., 2:] = 0
    fused_BN = EViT().transform(ctx).dense()[:, -1]
    torch.testing.assert_close(fused_BN[:, 2:], torch.full((2, 4), 0.25))
