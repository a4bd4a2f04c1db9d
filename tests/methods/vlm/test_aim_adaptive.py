"""AIM: halving merges per image and PageRank in plain Python, and what each of them is for."""

from __future__ import annotations

import pytest
import torch

from methods.contexts import VisualContext, VisualLayout
from methods.vlm.aim_adaptive import AIM
from tests.methods.vlm import plain


def one_round(tokens: list[torch.Tensor], parts: list[list[int]], remove: int) -> list[list[int]]:
    """Parts of the tokens left after one bipartite matching, A's unmerged first."""
    a, b = list(range(0, len(tokens), 2)), list(range(1, len(tokens), 2))
    proposals = []
    for source in a:
        cosines = [plain.cosine(tokens[source], tokens[target]) for target in b]
        proposals.append((max(cosines), source, b[cosines.index(max(cosines))]))
    accepted = sorted(proposals, key=lambda proposal: -proposal[0])[:remove]
    merged = {target: list(parts[target]) for target in b}
    for _, source, target in accepted:
        merged[target] += parts[source]
    sources = {source for _, source, _ in accepted}
    return [parts[token] for token in a if token not in sources] + [merged[token] for token in b]


def merged_parts(
    ctx: VisualContext, example: int, parts: list[list[int]], budget: int
) -> list[list[int]]:
    """Round by round down to ``budget`` averages; a round removes at most half."""
    hidden, sizes = ctx.hidden_BND[example].double(), ctx.sizes_BN[example].double()
    while len(parts) > budget:
        averages = [
            sum((sizes[t] * hidden[t] for t in part), torch.zeros(hidden.shape[1]))
            / sum(sizes[t] for t in part)
            for part in parts
        ]
        parts = one_round(averages, parts, min(len(parts) // 2, len(parts) - budget))
    return parts


@pytest.mark.parametrize("layout", plain.LAYOUTS)
@pytest.mark.parametrize("num_keep", [5, 7, 12, 20])
def test_the_doorstep_merges_every_image_round_by_round(
    layout: VisualLayout, num_keep: int
) -> None:
    ctx = plain.context(layout, num_keep, seed=num_keep)
    dense_BKN = AIM().transform(ctx).dense()
    for example in range(ctx.batch):
        images = zip(plain.tokens_of(ctx, example), plain.even(ctx, example), strict=True)
        expected: set[frozenset[int]] = set()
        for tokens, budget in images:
            if budget == 0:
                continue
            parts = merged_parts(ctx, example, [[token] for token in tokens], budget)
            expected |= {frozenset(part) for part in parts}
        found = {frozenset(row.nonzero()[:, 0].tolist()) for row in dense_BKN[example]}
        assert found == expected


def test_an_image_without_budget_is_pruned() -> None:
    ctx = plain.context(plain.CROPS, 3)
    w = AIM().transform(ctx)
    read = (w.dense() > 0).any(1).view(2, 5, 16)
    assert read.all(2).tolist() == [[True] * 3 + [False] * 2] * 2
    assert not read[:, 3:].any()


def slow_pagerank(ctx: VisualContext, example: int, steps: int, temperature: float) -> list[float]:
    assert ctx.attention_BHTN is not None
    assert ctx.visual_T is not None
    visual = ctx.visual_T.tolist()
    total = [0.0] * ctx.num_in
    for head in ctx.attention_BHTN[example].double():
        rows = []
        for row in head:
            shares = [*row.tolist(), 1 - float(row.sum())]
            sharp = [max(share, 0.0) ** (1 / temperature) for share in shares]
            rows.append([share / sum(sharp) for share in sharp])
        text = [row for row, is_visual in zip(rows, visual, strict=True) if not is_visual]
        from_text = [sum(column) / len(text) for column in zip(*text, strict=True)]
        walk = [row for row, is_visual in zip(rows, visual, strict=True) if is_visual] + [from_text]
        rank = [1 / len(rows)] * ctx.num_in + [len(text) / len(rows)]
        for _ in range(steps):
            rank = [
                sum(r * row[to] for r, row in zip(rank, walk, strict=True))
                for to in range(len(rank))
            ]
        total = [t + r**2 for t, r in zip(total, rank[:-1], strict=True)]
    return [(t / ctx.attention_BHTN.shape[1]) ** 0.5 for t in total]


@pytest.mark.parametrize(("steps", "temperature"), [(5, 0.1), (1, 1.0), (3, 0.5)])
def test_importance_is_the_pagerank_of_every_head(steps: int, temperature: float) -> None:
    ctx = plain.context(plain.SINGLE, 6, layer=3)
    method = AIM(steps=steps, temperature=temperature)
    importance_BN = method.importance(ctx)
    for example in range(ctx.batch):
        expected = slow_pagerank(ctx, example, steps, temperature)
        assert importance_BN[example].tolist() == pytest.approx(expected, rel=1e-3, abs=1e-6)
        kept = plain.kept(method.transform(ctx), example)
        assert kept == sorted(plain.best(importance_BN[example].tolist(), list(range(24)), 6))


def test_a_token_that_important_tokens_attend_to_is_important() -> None:
    """What PageRank adds to summed attention: nobody but token 9 attends to token 3."""
    ctx = plain.context(plain.SINGLE, 2, layer=3)
    assert ctx.attention_BHTN is not None
    ctx.attention_BHTN.zero_()
    ctx.attention_BHTN[:, :, :, 9] = 1.0
    ctx.attention_BHTN[:, :, 9] = 0.0
    ctx.attention_BHTN[:, :, 9, 3] = 1.0
    for example in range(ctx.batch):
        assert plain.kept(AIM(steps=2).transform(ctx), example) == [3, 9]
