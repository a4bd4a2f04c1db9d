"""HiPrune: anchors, buffers and registers in plain Python."""

from __future__ import annotations

import pytest

from methods.contexts import VisualContext, VisualLayout
from methods.vlm.hiprune import HiPrune
from tests.methods.vlm import plain


def received(ctx: VisualContext, example: int, layer: int) -> list[float]:
    flat = plain.stored(ctx.tower.received_LBIP)[layer, example].flatten().tolist()
    return [flat[at] for at in ctx.origin_BN[example].tolist()]


def neighbours(ctx: VisualContext, example: int, anchors: set[int]) -> set[int]:
    rows, columns = ctx.layout.grid
    places = ctx.origin_BN[example].tolist()

    def place(token: int) -> tuple[int, int, int]:
        image, inside = divmod(places[token], rows * columns)
        return image, *divmod(inside, columns)

    def touch(a: int, b: int) -> bool:
        (image_a, y_a, x_a), (image_b, y_b, x_b) = place(a), place(b)
        return image_a == image_b and abs(y_a - y_b) + abs(x_a - x_b) == 1

    return {token for token in range(len(places)) if any(touch(token, a) for a in anchors)}


@pytest.mark.parametrize("layout", plain.LAYOUTS)
@pytest.mark.parametrize(("alpha", "share"), [(0.1, 0.5), (0.6, 0.5), (1.0, 0.3), (1.0, 0.8)])
def test_anchors_then_buffers_then_registers(
    layout: VisualLayout, alpha: float, share: float
) -> None:
    ctx = plain.context(layout, int(share * layout.num_tokens))
    w = HiPrune(alpha=alpha, object_depth=1 / 3).transform(ctx)
    for example in range(ctx.batch):
        objects, deep = received(ctx, example, 0), received(ctx, example, ctx.tower.selected)
        chosen: list[int] = []
        images = plain.tokens_of(ctx, example)
        for tokens, budget in zip(images, plain.even(ctx, example), strict=True):
            anchors = plain.best(objects, tokens, int(budget * alpha / 5 + 0.5))
            buffers = neighbours(ctx, example, set(anchors)) - set(anchors)
            order = anchors + plain.best(deep, sorted(buffers), len(buffers))
            rest = [token for token in tokens if token not in order]
            chosen += (order + plain.best(deep, rest, len(rest)))[:budget]
        assert plain.kept(w, example) == sorted(chosen)


def test_an_object_seen_by_the_middle_layer_survives_with_its_surroundings() -> None:
    ctx = plain.context(plain.SINGLE, 12)
    plain.stored(ctx.tower.received_LBIP)[0, :, 0, 7] = 100.0
    plain.stored(ctx.tower.received_LBIP)[1, :, 0, [1, 6, 7, 8, 13]] = 0.0
    for example in range(ctx.batch):
        without = plain.kept(HiPrune(alpha=0, object_depth=1 / 3).transform(ctx), example)
        assert not {1, 6, 7, 8, 13} & set(without)
        around = plain.kept(HiPrune(alpha=0.5, object_depth=1 / 3).transform(ctx), example)
        assert {1, 6, 7, 8, 13} <= set(around)


def test_a_neighbour_is_not_across_the_edge_of_the_image() -> None:
    ctx = plain.context(plain.SINGLE, 12)
    plain.stored(ctx.tower.received_LBIP)[0, :, 0, 5] = 100.0
    plain.stored(ctx.tower.received_LBIP)[1, :, 0, 6] = 0.0
    for example in range(ctx.batch):
        around = plain.kept(HiPrune(alpha=0.5, object_depth=1 / 3).transform(ctx), example)
        assert {4, 5, 11} <= set(around)
        assert 6 not in around
