"""CrossGET's matching written out in plain Python, and why its graph is complete."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from methods.vision.crossget import CrossGET
from methods.vision.tome import ToMe
from tests.methods.contexts import Shape, vision_context


def slow_groups(keys: list[Tensor], num_remove: int) -> list[set[int]]:
    everyone = range(len(keys))
    similarity = [[float(cosine_similarity(a, b, dim=0)) for b in keys] for a in keys]
    nearest = [max(similarity[i][j] for j in everyone if j != i) for i in everyone]
    order = sorted(everyone, key=lambda i: -nearest[i])
    best_behind = dict.fromkeys(everyone, -math.inf)
    for place, i in enumerate(order[:-1]):
        best_behind[i] = max(similarity[i][j] for j in order[place + 1 :])
    sources = sorted(everyone, key=lambda i: -best_behind[i])[:num_remove]
    groups = {i: {i} for i in everyone if i not in sources}
    for i in sources:
        survivors = list(groups)
        groups[max(survivors, key=lambda j: similarity[i][j])].add(i)
    return [groups[i] for i in sorted(groups)]


@pytest.mark.parametrize(("num_in", "num_keep"), [(2, 1), (9, 8), (9, 5), (16, 8), (30, 21)])
@pytest.mark.parametrize("seed", range(3))
def test_one_round_is_the_papers_matching(num_in: int, num_keep: int, seed: int) -> None:
    ctx = vision_context(Shape(num_in=num_in, num_keep=num_keep, seed=seed))
    dense_BKN = CrossGET().transform(ctx).dense()

    for example in range(ctx.batch):
        keys = list(ctx.keys_BHND[example].transpose(0, 1).flatten(1))
        groups = slow_groups(keys, num_in - num_keep)
        assert [set(row.nonzero()[:, 0].tolist()) for row in dense_BKN[example]] == groups
        for row, group in enumerate(groups):
            members = sorted(group)
            sizes = ctx.sizes_BN[example, members]
            torch.testing.assert_close(dense_BKN[example, row, members], sizes / sizes.sum())


def together(dense_BKN: Tensor, i: int, j: int) -> Tensor:
    return ((dense_BKN[:, :, i] > 0) & (dense_BKN[:, :, j] > 0)).any(1)


@pytest.mark.parametrize(("i", "j"), [(4, 8), (3, 9), (2, 7)])
def test_twins_meet_wherever_they_stand(i: int, j: int) -> None:
    ctx = vision_context(Shape(num_in=12, num_keep=11))
    ctx.keys_BHND[:, :, i] = ctx.keys_BHND[:, :, j]
    assert together(CrossGET().transform(ctx).dense(), i, j).all()


def test_tomes_bipartite_graph_keeps_twins_of_equal_parity_apart() -> None:
    ctx = vision_context(Shape(num_in=12, num_keep=11))
    ctx.keys_BHND[:, :, 4] = ctx.keys_BHND[:, :, 8]
    assert not together(ToMe().transform(ctx).dense(), 4, 8).any()


def test_triplets_become_one_token_in_one_round() -> None:
    """No merged token is a destination, so nobody waits for anybody."""
    ctx = vision_context(Shape(num_in=9, num_keep=7))
    ctx.keys_BHND[:, :, [1, 4, 6]] = ctx.keys_BHND[:, :, [1]]
    dense_BKN = CrossGET().transform(ctx).dense()
    assert ((dense_BKN[:, :, [1, 4, 6]] > 0).all(2).sum(1) == 1).all()
