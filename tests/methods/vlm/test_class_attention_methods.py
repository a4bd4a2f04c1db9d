"""FasterVLM and VTC-CLS against their sums in plain Python."""

from __future__ import annotations

import pytest

from methods.contexts import VisualLayout
from methods.vlm.fastervlm import FasterVLM
from methods.vlm.vtc_cls import VTCCLS
from tests.methods.vlm import plain


@pytest.mark.parametrize("layout", plain.LAYOUTS)
@pytest.mark.parametrize(("num_keep", "layer", "lost"), [(1, 0, 0), (11, 0, 0), (9, 2, 7)])
def test_fastervlm_keeps_the_best_of_every_image(
    layout: VisualLayout, num_keep: int, layer: int, lost: int
) -> None:
    ctx = plain.context(layout, num_keep, layer=layer, lost=lost)
    w = FasterVLM().transform(ctx)
    for example in range(ctx.batch):
        scores = plain.class_attention(ctx, example, ctx.tower.selected)
        images = zip(plain.tokens_of(ctx, example), plain.even(ctx, example), strict=True)
        chosen = {token for tokens, count in images for token in plain.best(scores, tokens, count)}
        assert plain.kept(w, example) == sorted(chosen)


@pytest.mark.parametrize(("start_depth", "layers"), [(0, [0, 1]), (0.34, [1]), (1, [1])])
def test_vtc_cls_sums_attention_up_to_the_projected_layer(
    start_depth: float, layers: list[int]
) -> None:
    ctx = plain.context(plain.SINGLE, 7)
    w = VTCCLS(start_depth=start_depth).transform(ctx)
    for example in range(ctx.batch):
        per_layer = [plain.class_attention(ctx, example, layer) for layer in layers]
        scores = [sum(values) for values in zip(*per_layer, strict=True)]
        assert plain.kept(w, example) == sorted(plain.best(scores, list(range(24)), 7))


def test_the_start_layer_is_a_share_of_the_depth() -> None:
    ctx = plain.context(plain.SINGLE, 7)
    last_only = VTCCLS(start_depth=1).transform(ctx)
    assert plain.kept(last_only, 0) == plain.kept(FasterVLM().transform(ctx), 0)
