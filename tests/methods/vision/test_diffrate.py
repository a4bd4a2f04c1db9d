"""DiffRate: one sorted list in plain Python, and its two limits."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cosine_similarity

from methods.vision.attention_topk import AttentionTopK
from methods.vision.diffrate import DiffRate
from tests.methods.contexts import Shape, vision_context


@pytest.mark.parametrize(("num_in", "num_keep"), [(2, 1), (9, 3), (9, 8), (24, 6)])
@pytest.mark.parametrize("prune_share", [0.0, 0.3, 0.5])
def test_the_next_are_merged_into_their_most_similar_and_the_last_are_gone(
    num_in: int, num_keep: int, prune_share: float
) -> None:
    ctx = vision_context(Shape(num_in=num_in, num_keep=num_keep))
    assert ctx.cls_attention_BHN is not None
    dense_BKN = DiffRate(prune_share=prune_share).transform(ctx).dense()

    num_pruned = int(prune_share * (num_in - num_keep) + 0.5)
    for example in range(ctx.batch):
        attention = ctx.cls_attention_BHN[example].mean(0).tolist()
        order = sorted(range(num_in), key=lambda i: -attention[i])
        groups: dict[int, list[int]] = {i: [i] for i in sorted(order[:num_keep])}
        for i in order[num_keep : num_in - num_pruned]:
            x_ND = ctx.hidden_BND[example]
            similarity = {j: float(cosine_similarity(x_ND[i], x_ND[j], dim=0)) for j in groups}
            groups[max(groups, key=lambda j: similarity[j])].append(i)
        expected_KN = torch.zeros(num_keep, num_in)
        for row, members in enumerate(groups.values()):
            expected_KN[row, members] = 1 / len(members)
        torch.testing.assert_close(dense_BKN[example], expected_KN)


def test_pruning_all_is_attention_topk() -> None:
    ctx = vision_context(Shape(num_in=20, num_keep=8))
    pruned = DiffRate(prune_share=1.0).transform(ctx)
    assert torch.equal(pruned.cols, AttentionTopK().transform(ctx).cols)
    assert not pruned.merges


@pytest.mark.parametrize("prune_share", [0.0, 0.25, 0.75])
def test_sizes_count_the_tokens_that_were_not_pruned(prune_share: float) -> None:
    ctx = vision_context(Shape(num_in=20, num_keep=8))
    assert ctx.cls_attention_BHN is not None
    sizes_BK = DiffRate(prune_share=prune_share).transform(ctx).sizes(ctx.sizes_BN)
    num_pruned = int(prune_share * 12 + 0.5)
    gone = ctx.cls_attention_BHN.mean(1).argsort(1)[:, :num_pruned]
    expected = ctx.sizes_BN.sum(1) - ctx.sizes_BN.gather(1, gone).sum(1)
    torch.testing.assert_close(sizes_BK.sum(1), expected)
