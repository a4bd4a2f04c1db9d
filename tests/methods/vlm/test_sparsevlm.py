"""SparseVLM: raters, ranking and recycling in plain Python, and what raters are for."""

from __future__ import annotations

import math

import pytest
import torch

from methods.contexts import VisualContext
from methods.vlm.sparsevlm import SparseVLM
from tests.methods.vlm import plain


def slow_raters(ctx: VisualContext, example: int) -> list[int]:
    question = ctx.text_BQD[example, ctx.question_Q].double()
    relation = [0.0] * len(question)
    for token in ctx.hidden_BND[example].double():
        powers = [math.exp(float(token @ word)) for word in question]
        relation = [r + p / sum(powers) for r, p in zip(relation, powers, strict=True)]
    mean = sum(relation) / len(relation)
    return [word for word, r in enumerate(relation) if r > mean]


def slow_scores(ctx: VisualContext, example: int) -> list[float]:
    assert ctx.attention_BHTN is not None
    first = ctx.num_in + int((~ctx.question_Q).sum())
    rows = [first + word for word in slow_raters(ctx, example)]
    attention = ctx.attention_BHTN[example].double().mean(0)
    return [sum(float(attention[row, n]) for row in rows) / len(rows) for n in range(ctx.num_in)]


def slow_clusters(
    ctx: VisualContext, example: int, recycled: list[int], count: int
) -> list[set[int]]:
    tokens, width = ctx.hidden_BND[example].double(), ctx.hidden_BND.shape[2]
    distance = {
        (a, b): float((tokens[a] - tokens[b]).norm()) / width**0.5
        for a in recycled
        for b in recycled
    }
    density = {
        a: -sum(d**2 for d in sorted(distance[a, b] for b in recycled)[:count]) / count
        for a in recycled
    }
    farthest = max(distance.values())
    peak = {
        a: density[a]
        + math.log(
            min(
                [distance[a, b] for b in recycled if (density[b], -b) > (density[a], -a)]
                + [farthest]
            )
        )
        for a in recycled
    }
    centres = sorted(recycled, key=lambda a: -peak[a])[:count]
    clusters = {centre: {centre} for centre in centres}
    for a in recycled:
        if a not in centres:
            clusters[min(centres, key=lambda centre: distance[a, centre])].add(a)
    return list(clusters.values())


@pytest.mark.parametrize("num_keep", [1, 3, 8, 15])
@pytest.mark.parametrize(("share", "size"), [(0.3, 10), (0.6, 3)])
def test_raters_rank_and_the_best_of_the_rest_come_back_as_clusters(
    num_keep: int, share: float, size: int
) -> None:
    ctx = plain.context(plain.SINGLE, num_keep, layer=2, seed=2 * num_keep)
    method = SparseVLM(recycled_share=share, cluster_size=size)
    num_best, num_recycled, num_clusters = method.split(24, num_keep)
    dense_BKN = method.transform(ctx).dense()
    for example in range(ctx.batch):
        order = plain.best(slow_scores(ctx, example), list(range(24)), 24)
        expected = [{token} for token in order[:num_best]]
        if num_clusters:
            recycled = order[num_best : num_best + num_recycled]
            expected += slow_clusters(ctx, example, recycled, num_clusters)
        found = [frozenset(row.nonzero()[:, 0].tolist()) for row in dense_BKN[example]]
        assert set(found) == {frozenset(group) for group in expected}


def test_the_budget_counts_clusters() -> None:
    # 576 tokens: 192 - 12 = 180 kept, 119 recycled of 396, 12 clusters of about ten.
    assert SparseVLM().split(576, 192) == (180, 119, 12)
    assert SparseVLM().split(576, 2) == (1, 173, 1)
    assert SparseVLM().split(24, 1)[2] == 0
    for num_keep in range(1, 100):
        best, recycled, clusters = SparseVLM().split(100, num_keep)
        assert best + clusters == num_keep
        assert clusters <= recycled <= 100 - best


def test_words_that_have_nothing_to_do_with_the_image_do_not_rate() -> None:
    ctx = plain.context(plain.SINGLE, 5, layer=2)
    assert ctx.attention_BHTN is not None
    ctx.hidden_BND[..., 0] = 5.0
    ctx.text_BQD[:, 2:] = 0.0
    ctx.text_BQD[:, 3, 0] = 2.0
    # The only related word attends to token 7, all others to token 11.
    ctx.attention_BHTN.zero_()
    ctx.attention_BHTN[:, :, -3:, 11] = 1.0
    ctx.attention_BHTN[:, :, -2] = 0.0
    ctx.attention_BHTN[:, :, -2, 7] = 1.0
    scores_BN = SparseVLM().score(ctx)
    assert scores_BN.argmax(1).tolist() == [7, 7]
    assert torch.equal(scores_BN[:, 11], torch.zeros(2))


def test_home_cuts_before_layers_2_6_and_15_of_32() -> None:
    held = SparseVLM.home.held(0.125, 32)
    assert [held[layer] for layer in (1, 2, 6, 15)] == pytest.approx([1, 0.5, 0.25, 0.125])
