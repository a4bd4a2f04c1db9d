"""ToFu: pruning above, norm-preserving merging below, both against plain Python."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from methods.vision.tofu import ToFu
from methods.vision.tome import ToMe
from tests.methods.contexts import Shape, vision_context

EARLY, LATE = 1, 2  # layers of four


def slow_survivors(keys: list[Tensor], num_remove: int) -> list[int]:
    a, b = list(range(0, len(keys), 2)), list(range(1, len(keys), 2))
    best = {i: max(float(cosine_similarity(keys[i], keys[j], dim=0)) for j in b) for i in a}
    gone = sorted(a, key=lambda i: -best[i])[:num_remove]
    return [i for i in range(len(keys)) if i not in gone]


@pytest.mark.parametrize(
    ("num_in", "budgets"), [(9, (8,)), (9, (5,)), (16, (8, 4)), (21, (11, 6, 3))]
)
def test_early_layers_drop_what_tome_would_merge(num_in: int, budgets: tuple[int, ...]) -> None:
    ctx = vision_context(Shape(num_in=num_in, num_keep=budgets[-1], layer=EARLY))
    w = ToFu().transform(ctx)
    assert not w.merges
    for example in range(ctx.batch):
        keys, left = list(ctx.keys_BHND[example].mean(0)), list(range(num_in))
        for budget in budgets:
            alive = slow_survivors([keys[i] for i in left], len(left) - budget)
            left = [left[i] for i in alive]
        assert w.cols[example].tolist() == left


@pytest.mark.parametrize("num_keep", [15, 8, 2])
def test_later_layers_merge_the_groups_of_tome(num_keep: int) -> None:
    ctx = vision_context(Shape(num_in=16, num_keep=num_keep, layer=LATE))
    torch.testing.assert_close(ToFu().transform(ctx).dense(), ToMe().transform(ctx).dense())


@pytest.mark.parametrize("num_keep", [15, 8, 2])
def test_merged_tokens_have_the_direction_of_the_average_and_the_norm_of_the_longest(
    num_keep: int,
) -> None:
    ctx = vision_context(Shape(num_in=16, num_keep=num_keep, layer=LATE))
    w = ToFu().transform(ctx)
    merged_BKD, average_BKD = w(ctx.hidden_BND), ToMe().transform(ctx)(ctx.hidden_BND)
    for example in range(ctx.batch):
        for row in range(num_keep):
            parts = w.dense()[example, row].nonzero()[:, 0].tolist()
            longest = max(float(ctx.hidden_BND[example, i].norm()) for i in parts)
            average_D = average_BKD[example, row]
            torch.testing.assert_close(
                merged_BKD[example, row], average_D / average_D.norm() * longest
            )
    assert (average_BKD.norm(dim=-1).sum(1) < merged_BKD.norm(dim=-1).sum(1)).all()


def test_parts_that_cancel_out_stay_finite() -> None:
    ctx = vision_context(Shape(num_in=2, num_keep=1, layer=LATE))
    ctx.sizes_BN.fill_(1)
    ctx.hidden_BND[:, 1] = -ctx.hidden_BND[:, 0]
    assert (ToFu().transform(ctx)(ctx.hidden_BND) == 0).all()


@pytest.mark.parametrize(("pruned_depth", "prunes"), [(0.0, 0), (0.5, 3), (1.0, 5)])
def test_depth_decides_where_pruning_ends(pruned_depth: float, prunes: int) -> None:
    method = ToFu(pruned_depth=pruned_depth)
    layers = [
        vision_context(Shape(num_in=9, num_keep=6, layer=layer, num_layers=5)) for layer in range(5)
    ]
    merges = [method.transform(ctx).merges for ctx in layers]
    assert merges == [layer >= prunes for layer in range(5)]
