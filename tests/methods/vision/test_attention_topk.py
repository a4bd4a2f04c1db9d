"""Attention top-k keeps the highest head averages."""

from __future__ import annotations

from methods.vision.attention_topk import AttentionTopK
from tests.methods.contexts import Shape, vision_context


def test_the_kept_patches_have_the_highest_mean_attention() -> None:
    ctx = vision_context(Shape(num_in=15, num_keep=6, heads=3))
    assert ctx.cls_attention_BHN is not None
    w = AttentionTopK().transform(ctx)
    for example, kept in enumerate(w.cols.tolist()):
        heads = ctx.cls_attention_BHN[example].tolist()
        mean = [sum(column) / 3 for column in zip(*heads, strict=True)]
        assert kept == sorted(sorted(range(15), key=lambda i: -mean[i])[:6])
