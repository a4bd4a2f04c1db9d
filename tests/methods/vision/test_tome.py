"""ToMe against its algorithm written out in plain Python."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from methods.contexts import VisionContext
from methods.vision.tome import ToMe
from tests.methods.contexts import Shape, vision_context

LARGEST_CUT_OF_ONE_ROUND = ((2, 1), (9, 8), (9, 5), (16, 8), (17, 9), (30, 21))


def soft_matching(keys: list[Tensor], num_remove: int) -> list[list[int]]:
    """Groups of tokens in output order: unmerged tokens of A, then B with what joined it."""
    a, b = list(range(0, len(keys), 2)), list(range(1, len(keys), 2))
    proposals = {
        i: max((float(cosine_similarity(keys[i], keys[j], dim=0)), -j) for j in b) for i in a
    }
    accepted = sorted(a, key=lambda i: -proposals[i][0])[:num_remove]
    groups = {j: [j] for j in b}
    for i in accepted:
        groups[-proposals[i][1]].append(i)
    return [[i] for i in a if i not in accepted] + [groups[j] for j in b]


@pytest.mark.parametrize(("num_in", "num_keep"), LARGEST_CUT_OF_ONE_ROUND)
@pytest.mark.parametrize("seed", range(3))
def test_one_round_is_the_papers_matching(num_in: int, num_keep: int, seed: int) -> None:
    ctx = vision_context(Shape(num_in=num_in, num_keep=num_keep, seed=seed))
    dense_BKN = ToMe().transform(ctx).dense()

    for example in range(ctx.batch):
        keys = list(ctx.keys_BHND[example].mean(0))
        expected_KN = torch.zeros(num_keep, num_in)
        for row, group in enumerate(soft_matching(keys, num_in - num_keep)):
            total = sum(float(ctx.sizes_BN[example, i]) for i in group)
            for i in group:
                expected_KN[row, i] = ctx.sizes_BN[example, i] / total
        torch.testing.assert_close(dense_BKN[example], expected_KN)


def merged_context(ctx: VisionContext, num_keep: int) -> VisionContext:
    """What the method would see if the tokens had really been merged."""
    w = ToMe().transform(ctx)
    keys_B1KD = w(ctx.keys_BHND.mean(1))[:, None]
    return replace(ctx, keys_BHND=keys_B1KD, sizes_BN=w.sizes(ctx.sizes_BN), num_keep=num_keep)


@pytest.mark.parametrize(("num_in", "steps"), [(16, (8, 4, 2, 1)), (21, (11, 6, 3))])
def test_a_deep_cut_is_its_rounds_composed(num_in: int, steps: tuple[int, ...]) -> None:
    ctx = vision_context(Shape(num_in=num_in, num_keep=steps[-1]))
    at_once_BKN = ToMe().transform(ctx).dense()

    one_by_one = replace(ctx, num_keep=steps[0])
    composed = ToMe().transform(one_by_one).dense()
    for num_keep in steps[1:]:
        one_by_one = merged_context(one_by_one, num_keep)
        composed = ToMe().transform(one_by_one).dense() @ composed

    torch.testing.assert_close(at_once_BKN, composed)


def test_smaller_rounds_are_more_careful_matchings() -> None:
    ctx = vision_context(Shape(num_in=32, num_keep=16))
    halves = ToMe().transform(ctx).dense()
    quarters = ToMe(round_share=0.25).transform(ctx).dense()
    assert quarters.shape == halves.shape
    assert not torch.equal(quarters, halves)


def test_duplicates_merge_first_and_change_nothing_else() -> None:
    ctx = vision_context(Shape(num_in=12, num_keep=11))
    ctx.keys_BHND[:, :, 5] = ctx.keys_BHND[:, :, 8]
    dense_BKN = ToMe().transform(ctx).dense()
    together_BK = (dense_BKN[:, :, 5] > 0) & (dense_BKN[:, :, 8] > 0)
    assert together_BK.any(1).all()


def test_later_blocks_weigh_tokens_by_their_size() -> None:
    assert ToMe.proportional_attention
