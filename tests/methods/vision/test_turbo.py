"""Turbo: our reading of its matching in plain Python, between ToMe and attention."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from methods.base import ScoringMethod
from methods.contexts import VisionContext
from methods.vision.tome import ToMe
from methods.vision.turbo import Turbo
from tests.methods.contexts import Shape, vision_context


def slow_groups(
    keys: list[Tensor], value: list[float], alpha: float, num_remove: int
) -> list[list[int]]:
    a, b = list(range(0, len(keys), 2)), list(range(1, len(keys), 2))
    redundancy = {
        i: max((float(cosine_similarity(keys[i], keys[j], dim=0)), -j) for j in b) for i in a
    }
    least = sorted(a, key=lambda i: -(redundancy[i][0] - alpha * value[i]))[:num_remove]
    groups = {j: [j] for j in b}
    for i in least:
        groups[-redundancy[i][1]].append(i)
    return [[i] for i in a if i not in least] + [groups[j] for j in b]


@pytest.mark.parametrize(("num_in", "num_keep"), [(2, 1), (9, 8), (9, 5), (16, 8), (30, 21)])
@pytest.mark.parametrize("alpha", [0.5, 10.0])
def test_one_round_merges_the_least_information_degree(
    num_in: int, num_keep: int, alpha: float
) -> None:
    ctx = vision_context(Shape(num_in=num_in, num_keep=num_keep))
    assert ctx.cls_attention_BHN is not None
    dense_BKN = Turbo(alpha=alpha).transform(ctx).dense()
    for example in range(ctx.batch):
        keys = list(ctx.keys_BHND[example].mean(0))
        value = ctx.cls_attention_BHN[example].mean(0).tolist()
        expected_KN = torch.zeros(num_keep, num_in)
        for row, group in enumerate(slow_groups(keys, value, alpha, num_in - num_keep)):
            sizes = ctx.sizes_BN[example, group]
            expected_KN[row, group] = sizes / sizes.sum()
        torch.testing.assert_close(dense_BKN[example], expected_KN)


@pytest.mark.parametrize("num_keep", [18, 10, 3])
def test_without_semantic_value_it_is_tome(num_keep: int) -> None:
    ctx = vision_context(Shape(num_in=20, num_keep=num_keep))
    redundancy_only = Turbo(alpha=0).transform(ctx)
    assert torch.equal(redundancy_only.dense(), ToMe().transform(ctx).dense())


def merged_context(ctx: VisionContext, num_keep: int) -> VisionContext:
    """What the method would see if the tokens had really been merged, attention added up."""
    assert ctx.cls_attention_BHN is not None
    w = Turbo().transform(ctx)
    keys_B1KD = w(ctx.keys_BHND.mean(1))[:, None]
    members_BKN = (w.dense() > 0).float()
    attention_BK = (members_BKN @ ctx.cls_attention_BHN.mean(1)[..., None])[..., 0]
    return replace(
        ctx,
        keys_BHND=keys_B1KD,
        cls_attention_BHN=attention_BK[:, None],
        sizes_BN=w.sizes(ctx.sizes_BN),
        num_keep=num_keep,
    )


@pytest.mark.parametrize(("num_in", "steps"), [(16, (8, 4, 2)), (21, (11, 6, 3))])
def test_a_deep_cut_is_its_rounds_composed(num_in: int, steps: tuple[int, ...]) -> None:
    ctx = vision_context(Shape(num_in=num_in, num_keep=steps[-1]))
    one_by_one = replace(ctx, num_keep=steps[0])
    composed = Turbo().transform(one_by_one).dense()
    for num_keep in steps[1:]:
        one_by_one = merged_context(one_by_one, num_keep)
        composed = Turbo().transform(one_by_one).dense() @ composed
    torch.testing.assert_close(Turbo().transform(ctx).dense(), composed)


@pytest.mark.parametrize("i", [0, 4, 10])
def test_an_attended_token_is_not_merged_however_redundant(i: int) -> None:
    ctx = vision_context(Shape(num_in=12, num_keep=8))
    assert ctx.cls_attention_BHN is not None
    ctx.keys_BHND[:, :, i] = ctx.keys_BHND[:, :, 1]
    ctx.cls_attention_BHN.mul_(0.1)
    assert (ToMe().transform(ctx).dense()[:, :, i] < 1).all()
    ctx.cls_attention_BHN[:, :, i] = 0.9
    kept_BK = Turbo().transform(ctx).dense()[:, :, i]
    assert (kept_BK == 1).any(1).all()


def test_information_degree_is_value_minus_redundancy_and_usable_alone() -> None:
    ctx = vision_context(Shape(num_in=10, num_keep=4))
    assert ctx.cls_attention_BHN is not None
    method = Turbo(alpha=3.0)
    assert isinstance(method, ScoringMethod)
    score_BN = method.score(ctx)
    for example in range(ctx.batch):
        keys = list(ctx.keys_BHND[example].mean(0))
        for i in range(10):
            redundancy = max(
                float(cosine_similarity(keys[i], keys[j], dim=0)) for j in range(10) if j != i
            )
            value = float(ctx.cls_attention_BHN[example, :, i].mean())
            assert float(score_BN[example, i]) == pytest.approx(3 * value - redundancy, abs=1e-5)
