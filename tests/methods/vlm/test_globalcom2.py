"""GlobalCom2: crop ratios, interpolated guidance and budgets in plain Python."""

from __future__ import annotations

import math

import pytest
import torch

from methods.contexts import VisualContext, VisualLayout
from methods.vlm.fastervlm import FasterVLM
from methods.vlm.globalcom2 import GlobalCom2, crop_ratios
from tests.methods.vlm import plain

WIDE = VisualLayout(7, (4, 6), "crops", (2, 3))


def attention(ctx: VisualContext, example: int, image: int) -> list[float]:
    return (
        plain.stored(ctx.tower.cls_attention_LBIHP)[ctx.tower.selected, example, image]
        .mean(0)
        .tolist()
    )


def slow_ratios(ctx: VisualContext, example: int, temperature: float) -> list[float]:
    """The official rule, on logits; here log attention, which is as good up to a constant."""
    (rows, columns), crop_grid = ctx.layout.grid, ctx.layout.crop_grid
    assert crop_grid is not None
    sums = [0.0] * (crop_grid[0] * crop_grid[1])
    for place, value in enumerate(attention(ctx, example, 0)):
        y, x = divmod(place, columns)
        region = y // (rows // crop_grid[0]) * crop_grid[1] + x // (columns // crop_grid[1])
        sums[region] += math.log(value)
    powers = [math.exp((value - max(sums)) / temperature) for value in sums]
    return [1 + power / sum(powers) - 1 / len(sums) for power in powers]


def bilinear(values: list[float], grid: tuple[int, int], y: float, x: float) -> float:
    """Value at a place given in pixels of ``grid``, whose centres lie at halves."""
    rows, columns = grid
    y, x = min(max(y - 0.5, 0), rows - 1), min(max(x - 0.5, 0), columns - 1)
    top, left = int(y), int(x)
    total = 0.0
    for row, share_y in ((top, 1 - y + top), (min(top + 1, rows - 1), y - top)):
        for column, share_x in ((left, 1 - x + left), (min(left + 1, columns - 1), x - left)):
            total += share_y * share_x * values[row * columns + column]
    return total


def guidance(ctx: VisualContext, example: int, image: int) -> list[float]:
    (rows, columns), crop_grid = ctx.layout.grid, ctx.layout.crop_grid
    assert crop_grid is not None
    thumbnail = attention(ctx, example, 0)
    if image == 0:
        return thumbnail
    down, across = divmod(image - 1, crop_grid[1])
    return [
        bilinear(
            thumbnail,
            ctx.layout.grid,
            (down * rows + row + 0.5) / crop_grid[0],
            (across * columns + column + 0.5) / crop_grid[1],
        )
        for row in range(rows)
        for column in range(columns)
    ]


def unit(values: list[float]) -> list[float]:
    length = math.sqrt(sum(value**2 for value in values))
    return [value / length for value in values]


@pytest.mark.parametrize("layout", [plain.CROPS, WIDE])
@pytest.mark.parametrize("temperature", [1.0, 10.0])
@pytest.mark.parametrize("share", [0.1, 0.25, 0.8])
def test_thumbnail_guides_budgets_and_ranks(
    layout: VisualLayout, temperature: float, share: float
) -> None:
    ctx = plain.context(layout, int(share * layout.num_tokens), seed=3)
    w = GlobalCom2(temperature=temperature).transform(ctx)
    for example in range(ctx.batch):
        ratios = slow_ratios(ctx, example, temperature)
        torch.testing.assert_close(
            crop_ratios(
                plain.stored(ctx.tower.cls_attention_LBIHP)[1, example : example + 1, 0].mean(1),
                ctx,
                temperature,
            )[0],
            torch.tensor(ratios),
        )
        images = plain.tokens_of(ctx, example)
        capacity = [len(tokens) for tokens in images]
        chosen = []
        budgets = plain.budgets([1.0, *ratios], capacity, ctx.num_keep)
        for image, (tokens, budget) in enumerate(zip(images, budgets, strict=True)):
            pairs = (attention(ctx, example, image), guidance(ctx, example, image))
            scores = [a + b for a, b in zip(*map(unit, pairs), strict=True)]
            order = sorted(range(len(tokens)), key=lambda place: -scores[place])
            chosen += [tokens[place] for place in order[:budget]]
        assert plain.kept(w, example) == sorted(chosen)


def test_a_crop_that_the_thumbnail_looks_at_keeps_more() -> None:
    """The paper's claim: the global view gives more tokens to informative crops."""
    ctx = plain.context(plain.CROPS, 40)
    maps = torch.full((4, 4), 0.02)
    maps[:2, 2:] = 0.15
    plain.stored(ctx.tower.cls_attention_LBIHP)[:, :, 0] = maps.flatten()
    budgets_BI = GlobalCom2().budgets(ctx)
    assert budgets_BI.sum(1).tolist() == [40, 40]
    assert (budgets_BI[:, 2] > budgets_BI[:, [1, 3, 4]].amax(1)).all()


def test_regions_of_different_size_are_not_favoured_for_their_size() -> None:
    ctx = plain.context(VisualLayout(4, (4, 4), "crops", (1, 3)), 20)
    even_BP = torch.full((2, 16), 0.05)
    torch.testing.assert_close(crop_ratios(even_BP, ctx, 10.0), torch.ones(2, 3))


def test_without_a_thumbnail_images_speak_for_themselves() -> None:
    ctx = plain.context(plain.SEVERAL, 10)
    alone, class_only = GlobalCom2().transform(ctx), FasterVLM().transform(ctx)
    assert torch.equal(alone.dense(), class_only.dense())
