"""PiToMe against its equations written out in plain Python, and what the paper claims for it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from methods.contexts import VisionContext
from methods.vision.pitome import PiToMe
from tests.methods.contexts import Shape, vision_context


def slow_energy(keys: list[Tensor], margin: float, alpha: float) -> list[float]:
    def nearness(i: int, j: int) -> float:
        x = float(cosine_similarity(keys[i], keys[j], dim=0)) - margin
        return x if x > 0 else alpha * (math.exp(x) - 1)

    count = len(keys)
    return [sum(nearness(i, j) for j in range(count)) / count for i in range(count)]


def slow_groups(keys: list[Tensor], energy: list[float], num_remove: int) -> list[set[int]]:
    order = sorted(range(len(keys)), key=lambda i: -energy[i])
    a, b = order[: 2 * num_remove : 2], order[1 : 2 * num_remove : 2]
    groups = {i: {i} for i in range(len(keys)) if i not in a}
    for i in a:
        nearest = max(b, key=lambda j: float(cosine_similarity(keys[i], keys[j], dim=0)))
        groups[nearest].add(i)
    return [groups[i] for i in sorted(groups)]


@pytest.mark.parametrize("layer", [0, 2, 3])
@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_energy_is_the_papers_with_a_margin_that_falls_with_depth(layer: int, alpha: float) -> None:
    keys_ND = vision_context(Shape(num_in=11, num_keep=5)).keys_BHND[0].mean(0)
    cosines_NN = cosine_similarity(keys_ND[:, None], keys_ND[None], dim=-1)
    energy_BN = PiToMe(margin=0.9, alpha=alpha).energy(cosines_NN[None], layer, num_layers=4)

    expected = slow_energy(list(keys_ND), 0.9 - 0.9 * layer / 4, alpha)
    torch.testing.assert_close(energy_BN[0], torch.tensor(expected))


@pytest.mark.parametrize(("num_in", "num_keep"), [(2, 1), (9, 8), (9, 5), (16, 8), (30, 21)])
@pytest.mark.parametrize("seed", range(3))
def test_one_round_is_the_papers_matching(num_in: int, num_keep: int, seed: int) -> None:
    ctx = vision_context(Shape(num_in=num_in, num_keep=num_keep, seed=seed, layer=2))
    dense_BKN = PiToMe().transform(ctx).dense()

    for example in range(ctx.batch):
        keys = list(ctx.keys_BHND[example].mean(0))
        energy = slow_energy(keys, 0.75 - 0.75 * 2 / 4, 1.0)
        groups = slow_groups(keys, energy, num_in - num_keep)
        assert [set(row.nonzero()[:, 0].tolist()) for row in dense_BKN[example]] == groups
        for row, group in enumerate(groups):
            members = sorted(group)
            sizes = ctx.sizes_BN[example, members]
            torch.testing.assert_close(dense_BKN[example, row, members], sizes / sizes.sum())


def crowd_and_loners(num_crowd: int, num_loners: int, num_keep: int, seed: int) -> VisionContext:
    """A crowd of near-duplicates among loners that resemble nobody, in random order."""
    num_in = num_crowd + num_loners
    ctx = vision_context(
        Shape(num_in=num_in, num_keep=num_keep, seed=seed, width=2 * num_loners, heads=1)
    )
    directions = torch.eye(2 * num_loners)
    tokens = torch.cat([directions[:1].expand(num_crowd, -1), directions[1 : num_loners + 1]])
    order = torch.randperm(num_in, generator=torch.Generator().manual_seed(seed))
    ctx.keys_BHND.mul_(0.02).add_(tokens[order])
    return ctx


def loners_survive(method: PiToMe, ctx: VisionContext, num_loners: int) -> bool:
    crowd_direction_BN = ctx.keys_BHND[:, 0, :, 0]
    loners_BL = crowd_direction_BN.argsort(1)[:, :num_loners]
    dense_BKN = method.transform(ctx).dense()
    columns_BKL = dense_BKN.gather(2, loners_BL[:, None].expand(-1, ctx.num_keep, -1))
    return bool((columns_BKL.amax(1) == 1).all())


@pytest.mark.parametrize("num_keep", [31, 24, 20])
@pytest.mark.parametrize("seed", range(4))
def test_isolated_tokens_are_protected(num_keep: int, seed: int) -> None:
    ctx = crowd_and_loners(num_crowd=26, num_loners=6, num_keep=num_keep, seed=seed)
    assert loners_survive(PiToMe(), ctx, num_loners=6)


@pytest.mark.parametrize("seed", range(4))
def test_small_rounds_protect_isolated_tokens_in_deep_cuts(seed: int) -> None:
    ctx = crowd_and_loners(num_crowd=28, num_loners=4, num_keep=8, seed=seed)
    assert loners_survive(PiToMe(round_share=0.2), ctx, num_loners=4)
    assert not loners_survive(PiToMe(round_share=0.5), ctx, num_loners=4)
