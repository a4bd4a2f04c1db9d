"""TCA: condensation and anchors in plain Python; what the reservoir remembers."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from methods.contexts import VisionContext
from methods.vision.attention_topk import AttentionTopK
from methods.vision.tca import TCA, coreset_averaging, diverse
from tests.methods.contexts import Shape, vision_context


def slow_coreset(tokens: list[list[float]], num_centres: int) -> list[dict[int, float]]:
    """Members and their shares, by centre."""
    centres = [0]
    while len(centres) < num_centres:
        rest = [i for i in range(len(tokens)) if i not in centres]
        centres.append(
            max(rest, key=lambda i: min(math.dist(tokens[i], tokens[c]) for c in centres))
        )
    weights: dict[int, dict[int, float]] = {c: {c: 1.0} for c in centres}
    for i, token in enumerate(tokens):
        if i not in centres:
            centre = min(centres, key=lambda c: math.dist(token, tokens[c]))
            weights[centre][i] = 1 / math.dist(token, tokens[centre])
    return [
        {i: x / sum(members.values()) for i, x in members.items()} for members in weights.values()
    ]


@pytest.mark.parametrize(("count", "num_centres"), [(1, 1), (6, 2), (12, 4), (5, 5)])
def test_coreset_averaging_weighs_members_by_inverse_distance(count: int, num_centres: int) -> None:
    tokens_BGD = torch.randn(2, count, 6, generator=torch.Generator().manual_seed(0))
    clusters_BG, weights_BG = coreset_averaging(tokens_BGD, num_centres)
    for example in range(2):
        expected = slow_coreset(tokens_BGD[example].tolist(), num_centres)
        for cluster, shares in enumerate(expected):
            members = (clusters_BG[example] == cluster).nonzero()[:, 0]
            assert members.tolist() == sorted(shares)
            weights = weights_BG[example, members]
            torch.testing.assert_close(
                weights / weights.sum(), torch.tensor([shares[i] for i in sorted(shares)])
            )


@pytest.mark.parametrize(
    ("num_in", "num_keep", "num_centres", "num_gathered"),
    [(30, 12, 4, 15), (30, 5, 2, 19), (30, 2, 0, 0), (30, 1, 0, 0), (30, 29, 4, 4)],
)
def test_patches_are_kept_gathered_or_fused_by_attention(
    num_in: int, num_keep: int, num_centres: int, num_gathered: int
) -> None:
    ctx = vision_context(Shape(num_in=num_in, num_keep=num_keep))
    assert ctx.cls_attention_BHN is not None
    dense_BKN = TCA().transform(ctx).dense()
    num_kept = num_keep - num_centres - 1
    for example in range(ctx.batch):
        attention = ctx.cls_attention_BHN[example].mean(0).tolist()
        order = sorted(range(num_in), key=lambda i: -attention[i])
        kept, gathered = sorted(order[:num_kept]), order[num_kept : num_kept + num_gathered]
        fused = order[num_kept + num_gathered :]
        assert dense_BKN[example, :num_kept].argmax(1).tolist() == kept
        centres_N = dense_BKN[example, num_kept:-1].sum(0)
        assert set(centres_N.nonzero()[:, 0].tolist()) == set(gathered)
        expected_N = torch.zeros(num_in)
        for i in fused:
            expected_N[i] = attention[i] / sum(attention[j] for j in fused)
        torch.testing.assert_close(dense_BKN[example, -1], expected_N)


def consistent(ctx: VisionContext) -> VisionContext:
    """The class token's attention recomputed from its query and all keys."""
    assert ctx.cls_query_BHD is not None
    assert ctx.cls_key_BHD is not None
    keys_BHMD = torch.cat([ctx.cls_key_BHD[:, :, None], ctx.keys_BHND], 2)
    logits_BHM1 = keys_BHMD @ ctx.cls_query_BHD[..., None] * ctx.scaling
    return replace(ctx, cls_attention_BHN=logits_BHM1[..., 0].softmax(-1)[..., 1:])


def stream(count: int, layer: int = 1) -> list[VisionContext]:
    """Batches that share one memory."""
    batches = [
        consistent(vision_context(Shape(num_in=10, num_keep=6, seed=seed, layer=layer)))
        for seed in range(count)
    ]
    return [replace(ctx, memory=batches[0].memory) for ctx in batches]


def slow_score(ctx: VisionContext, example: int, seen: list[VisionContext]) -> list[float]:
    """Attention with the remembered class token of the highest cosine in the softmax."""
    assert ctx.cls_hidden_BD is not None
    assert ctx.cls_query_BHD is not None
    assert ctx.cls_key_BHD is not None
    best, anchor_HD = -2.0, torch.empty(0)
    for earlier in seen:
        assert earlier.cls_hidden_BD is not None
        assert earlier.cls_key_BHD is not None
        for hidden_D, key_HD in zip(earlier.cls_hidden_BD, earlier.cls_key_BHD, strict=True):
            cosine = float(torch.cosine_similarity(hidden_D, ctx.cls_hidden_BD[example], dim=0))
            if cosine > best:
                best, anchor_HD = cosine, key_HD
    total = [0.0] * ctx.num_in
    for head, query_D in enumerate(ctx.cls_query_BHD[example]):
        keys = [anchor_HD[head], ctx.cls_key_BHD[example, head], *ctx.keys_BHND[example, head]]
        powers = [math.exp(float(query_D @ key_D) * ctx.scaling) for key_D in keys]
        for i in range(ctx.num_in):
            total[i] += powers[2 + i] / sum(powers) / ctx.cls_query_BHD.shape[1]
    return total


def test_the_nearest_remembered_class_token_joins_the_softmax() -> None:
    method, batches = TCA(), stream(3)
    for number, ctx in enumerate(batches):
        if number:
            score_BN = method.score(ctx)
            for example in range(ctx.batch):
                expected = slow_score(ctx, example, batches[:number])
                torch.testing.assert_close(score_BN[example], torch.tensor(expected))
        else:
            assert torch.equal(method.score(ctx), AttentionTopK().score(ctx))
        method.transform(ctx)


def test_layers_remember_for_themselves_and_a_reservoir_of_none_forgets() -> None:
    first, other_layer = stream(1)[0], stream(1, layer=2)[0]
    TCA().transform(first)
    same_memory = replace(other_layer, memory=first.memory)
    assert torch.equal(TCA().score(same_memory), TCA().score(other_layer))

    forgetful, batches = TCA(reservoir_size=0), stream(2)
    forgetful.transform(batches[0])
    assert torch.equal(forgetful.score(batches[1]), AttentionTopK().score(batches[1]))


def slow_diverse(directions: list[Tensor], size: int) -> list[int]:
    left = list(range(len(directions)))
    while len(left) > size:
        redundancy = {
            i: sum(float(directions[i] @ directions[j]) for j in left if j != i) for i in left
        }
        left.remove(max(left, key=lambda i: redundancy[i]))
    return left


@pytest.mark.parametrize("size", [0, 1, 4, 9, 12])
def test_the_most_redundant_class_tokens_leave_the_reservoir(size: int) -> None:
    tokens_PD = torch.randn(9, 4, generator=torch.Generator().manual_seed(3))
    directions_PD = tokens_PD / tokens_PD.norm(dim=1, keepdim=True)
    assert diverse(directions_PD, size).tolist() == slow_diverse(list(directions_PD), size)


def test_the_reservoir_stays_within_its_size() -> None:
    batches = stream(6)
    for ctx in batches:
        TCA(reservoir_size=5).transform(ctx)
    (reservoir,) = batches[0].memory.values()
    assert len(reservoir["keys_PHD"]) == len(reservoir["directions_PD"]) == 5
