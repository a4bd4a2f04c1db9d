"""Zero-TPrune against its equations written out in plain Python, and what the paper claims."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from methods.contexts import VisionContext
from methods.vision.zero_tprune import ZeroTPrune
from tests.methods.contexts import Shape, vision_context


def slow_importance(attention_HMM: Tensor, present: list[int], votes: int) -> dict[int, float]:
    """Page rank per head, filter, root mean square; patches are numbered from 0, the class -1."""
    tokens = [-1, *present]
    per_head = []
    for attention in attention_HMM.tolist():
        graph = {i: {j: attention[i + 1][j + 1] for j in tokens} for i in tokens}
        score = {i: len(present) ** 0.5 if i == -1 else 1.0 for i in tokens}
        for _ in range(votes):
            score = {
                j: sum(graph[i][j] / sum(graph[i].values()) * score[i] for i in tokens)
                for j in tokens
            }
        mean = sum(score[n] for n in present) / len(present)
        per_head.append({n: score[n] / mean for n in present})
    variances = [sum((s - 1) ** 2 for s in head.values()) / len(head) for head in per_head]
    trusted = [h for h, v in zip(per_head, variances, strict=True) if 0.01 <= v <= 0.7]
    heads = trusted or per_head
    return {n: (sum(head[n] ** 2 for head in heads) / len(heads)) ** 0.5 for n in present}


def slow_kept(ctx: VisionContext, example: int, num_similar: int, votes: int) -> list[int]:
    assert ctx.attention_BHMM is not None
    attention = ctx.attention_BHMM[example]
    keys = ctx.keys_BHND[example].transpose(0, 1).flatten(1)
    first = slow_importance(attention, list(range(ctx.num_in)), votes=1)
    order = sorted(first, key=lambda n: first[n])
    low, high = order[: ctx.num_in // 2], order[ctx.num_in // 2 :]
    nearest = {n: max(float(cosine_similarity(keys[n], keys[m], dim=0)) for m in high) for n in low}
    copies = sorted(low, key=lambda n: -nearest[n])[:num_similar]
    present = [n for n in range(ctx.num_in) if n not in copies]
    rank = slow_importance(attention, present, votes)
    return sorted(sorted(present, key=lambda n: -rank[n])[: ctx.num_keep])


@pytest.mark.parametrize(("layer", "votes"), [(0, 30), (2, 30), (3, 5), (8, 5), (9, 1), (11, 1)])
@pytest.mark.parametrize("seed", range(2))
def test_the_three_stages_are_the_papers(layer: int, votes: int, seed: int) -> None:
    ctx = vision_context(
        Shape(num_in=14, num_keep=6, seed=seed, layer=layer, num_layers=12, heads=3)
    )
    dense_BKN = ZeroTPrune(similar_share=0.5).transform(ctx).dense()
    for example in range(ctx.batch):
        kept = dense_BKN[example].argmax(1).tolist()
        assert kept == slow_kept(ctx, example, num_similar=4, votes=votes)


def test_a_score_is_the_page_rank_of_everything() -> None:
    ctx = vision_context(Shape(num_in=11, num_keep=5, heads=3, batch=1, layer=5, num_layers=12))
    assert ctx.attention_BHMM is not None
    expected = slow_importance(ctx.attention_BHMM[0], list(range(11)), votes=5)
    found = ZeroTPrune().score(ctx)[0]
    torch.testing.assert_close(found, torch.tensor([expected[n] for n in range(11)]))


def graph(ctx: VisionContext, attention_HMM: Tensor) -> VisionContext:
    attention = attention_HMM / attention_HMM.sum(-1, keepdim=True)
    return replace(ctx, attention_BHMM=attention.expand(ctx.batch, -1, -1, -1))


def test_votes_of_important_tokens_count_more() -> None:
    """Two patches get one vote each: one from a patch that everybody votes for, one not."""
    ctx = vision_context(Shape(num_in=8, num_keep=2, heads=1, layer=3, num_layers=12))
    attention = torch.full((1, 9, 9), 0.01)
    attention[:, :, 1] = 1.0  # patch 0 is everybody's choice
    attention[:, 1] = 0.01
    attention[:, 1, 2] = 1.0  # and votes for patch 1
    attention[:, 8] = 0.01
    attention[:, 8, 3] = 1.0  # nobody's choice votes for patch 2
    score = ZeroTPrune(most_variance=100).score(graph(ctx, attention))[0]
    assert score[1] > 2 * score[2]
    assert score[2] > score[3]


def test_heads_that_see_one_token_or_none_in_particular_are_left_out() -> None:
    ctx = vision_context(Shape(num_in=8, num_keep=2, heads=3, layer=11, num_layers=12))
    generator = torch.Generator().manual_seed(0)
    attention = torch.rand(3, 9, 9, generator=generator) * 0.5 + 0.5
    attention[1] = 1.0  # flat
    attention[2] = 1e-6
    attention[2, :, 5] = 1.0  # one patch takes it all
    both = ZeroTPrune(least_variance=0.001).score(graph(ctx, attention))
    alone = ZeroTPrune(least_variance=0.001).score(graph(ctx, attention[:1]))
    torch.testing.assert_close(both, alone)
    unfiltered = ZeroTPrune(least_variance=0, most_variance=100).score(graph(ctx, attention))
    assert not torch.allclose(unfiltered, alone)


@pytest.mark.parametrize("seed", range(4))
def test_copies_of_important_tokens_go_first(seed: int) -> None:
    """Five patches are copies of five better ones; all else is unlike anything."""
    ctx = vision_context(Shape(num_in=20, num_keep=15, seed=seed, batch=1, heads=1, width=32))
    order = torch.randperm(20, generator=torch.Generator().manual_seed(seed))
    originals, copies = order[:5], order[5:10]
    keys_BHND = ctx.keys_BHND.clone()
    keys_BHND[:, :, copies] = keys_BHND[:, :, originals]
    attention = torch.ones(1, 21, 21)
    attention[:, :, 1 + originals] = 3.0
    attention[:, :, 1 + copies] = 0.9
    ctx = replace(graph(ctx, attention), keys_BHND=keys_BHND)
    kept = ZeroTPrune(similar_share=1.0).transform(ctx).dense().argmax(2)[0].tolist()
    assert set(range(20)) - set(kept) == set(copies.tolist())
