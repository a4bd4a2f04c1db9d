"""MCTF against its equations written out in plain Python, and what the paper claims for it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from methods.contexts import VisionContext
from methods.vision.mctf import MCTF
from tests.methods.contexts import Shape, vision_context


def slow_attraction(
    i: int, j: int, hidden: Tensor, attention: list[float], sizes: list[float], method: MCTF
) -> float:
    cosine = float(cosine_similarity(hidden[i], hidden[j], dim=0))
    similar = ((1 + cosine) / 2) ** (1 / method.tau_similarity)
    uninformative = (1 / (attention[i] * attention[j])) ** (1 / method.tau_information)
    small = (1 / (sizes[i] * sizes[j])) ** (1 / method.tau_size)
    return float(similar * uninformative * small)


def slow_groups(
    attraction: dict[tuple[int, int], float], num: int, num_remove: int
) -> list[set[int]]:
    """Half of the fusions from A to B, then the rest from B to what is left of A."""
    a, b = list(range(0, num, 2)), list(range(1, num, 2))
    best = {i: max(b, key=lambda j: attraction[i, j]) for i in a}
    by_strength = sorted(a, key=lambda i: -attraction[i, best[i]])
    gone, left = by_strength[: num_remove // 2], sorted(by_strength[num_remove // 2 :])
    back = {j: max(left, key=lambda i: attraction[i, j]) for j in b}
    by_strength = sorted(b, key=lambda j: -attraction[back[j], j])
    gone_back = by_strength[: num_remove - num_remove // 2]
    groups = {n: {n} for n in range(num)}
    for i in gone:
        groups[best[i]] |= groups.pop(i)
    for j in gone_back:
        groups[back[j]] |= groups.pop(j)
    return [groups[n] for n in a + b if n in groups]


def received(ctx: VisionContext, example: int) -> list[float]:
    assert ctx.next_attention_BHMM is not None
    heads = list(ctx.next_attention_BHMM[example])
    num_queries = heads[0].shape[0]
    return [
        sum(float(head[q, 1 + n]) for head in heads for q in range(num_queries))
        / (len(heads) * num_queries)
        for n in range(ctx.num_in)
    ]


@pytest.mark.parametrize(("num_in", "num_keep"), [(2, 1), (9, 8), (9, 5), (16, 8), (30, 21)])
@pytest.mark.parametrize("seed", range(3))
def test_one_round_is_the_papers_fusion(num_in: int, num_keep: int, seed: int) -> None:
    ctx = vision_context(Shape(num_in=num_in, num_keep=num_keep, seed=seed))
    method = MCTF(tau_similarity=0.5, tau_information=2, tau_size=3)
    dense_BKN = method.transform(ctx).dense()
    for example in range(ctx.batch):
        attention, sizes = received(ctx, example), ctx.sizes_BN[example].tolist()
        hidden = ctx.hidden_BND[example]
        attraction = {
            (i, j): slow_attraction(i, j, hidden, attention, sizes, method)
            for i in range(0, num_in, 2)
            for j in range(1, num_in, 2)
        }
        groups = slow_groups(attraction, num_in, num_in - num_keep)
        assert [set(row.nonzero()[:, 0].tolist()) for row in dense_BKN[example]] == groups
        for row, group in enumerate(groups):
            weights = torch.tensor([attention[n] * sizes[n] for n in sorted(group)])
            found = dense_BKN[example, row, sorted(group)]
            torch.testing.assert_close(found, weights / weights.sum())


def with_busy_tokens(ctx: VisionContext, busy: list[int], share: float) -> VisionContext:
    """The next block sends ``share`` times more attention to the busy patches."""
    attention_BHMM = torch.ones_like(ctx.keys_BHND[..., :1] @ ctx.keys_BHND[..., :1].mT)
    attention_BHMM = torch.nn.functional.pad(attention_BHMM, (1, 0, 1, 0), value=1.0)
    attention_BHMM[..., [1 + n for n in busy]] = share
    return replace(ctx, next_attention_BHMM=attention_BHMM / attention_BHMM.sum(-1, keepdim=True))


def survivors(method: MCTF, ctx: VisionContext, tokens: list[int]) -> int:
    """How many of these tokens were fused with nothing, over the batch."""
    return int((method.transform(ctx).dense()[..., tokens].amax(1) == 1).sum())


@pytest.mark.parametrize("seed", range(4))
def test_informative_tokens_are_not_fused(seed: int) -> None:
    """Among equally similar tokens, those that the next block looks at stay alone."""
    ctx = vision_context(Shape(num_in=20, num_keep=14, seed=seed, batch=1, content="equal"))
    ctx = replace(ctx, sizes_BN=torch.ones(1, 20))
    busy = torch.randperm(20, generator=torch.Generator().manual_seed(seed))[:6].tolist()
    assert survivors(MCTF(), with_busy_tokens(ctx, busy, share=9.0), busy) == 6


@pytest.mark.parametrize("seed", range(4))
def test_large_tokens_are_not_fused_further(seed: int) -> None:
    ctx = vision_context(Shape(num_in=20, num_keep=14, seed=seed, batch=1, content="equal"))
    large = torch.randperm(20, generator=torch.Generator().manual_seed(seed))[:6]
    sizes_BN = torch.ones(1, 20)
    sizes_BN[:, large] = 5.0
    ctx = replace(with_busy_tokens(ctx, [], share=1.0), sizes_BN=sizes_BN)
    assert survivors(MCTF(), ctx, large.tolist()) == 6


def test_the_last_block_fuses_without_knowing_what_comes() -> None:
    ctx = vision_context(Shape(num_in=12, num_keep=7))
    uniform = with_busy_tokens(ctx, [], share=1.0)
    torch.testing.assert_close(
        MCTF().transform(replace(ctx, next_attention_BHMM=None)).dense(),
        MCTF().transform(uniform).dense(),
    )


def test_deep_cuts_keep_every_token_in_an_average_weighted_by_attention_and_size() -> None:
    ctx = vision_context(Shape(num_in=33, num_keep=3))
    transform = MCTF().transform(ctx)
    torch.testing.assert_close(transform.sizes(ctx.sizes_BN).sum(1), ctx.sizes_BN.sum(1))
    dense_BKN = transform.dense()
    weights_BN = torch.tensor([received(ctx, b) for b in range(ctx.batch)]) * ctx.sizes_BN
    expected_BKN = (dense_BKN > 0) * weights_BN[:, None]
    torch.testing.assert_close(dense_BKN, expected_BKN / expected_BKN.sum(2, keepdim=True))
