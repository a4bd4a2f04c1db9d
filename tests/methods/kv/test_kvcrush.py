import pytest
import torch
from pydantic import ValidationError

from methods.kv.h2o import H2O
from methods.kv.kvcrush import KVCrush

NUM_HEADS, GROUP = 2, 3


def plain_kept(ctx, important_by_head, query_head_scores, anchor, num_proxies):
    """Bit vectors, distances and buckets, one token at a time."""
    kept = []
    for b in range(ctx.batch):
        first = b // NUM_HEADS * NUM_HEADS * GROUP
        heads = query_head_scores[first : first + NUM_HEADS * GROUP]
        half = [sorted(range(ctx.num_in), key=lambda n: -s[n])[: ctx.num_in // 2] for s in heads]
        vectors = [[n in better for better in half] for n in range(ctx.num_in)]
        bits = anchor(vectors)
        rest = [n for n in range(ctx.num_in) if n not in important_by_head[b]]
        rest.sort(key=lambda n: sum(x != a for x, a in zip(vectors[n], bits, strict=True)))
        step = len(rest) // num_proxies
        proxies = [rest[i * step] for i in range(num_proxies)]
        kept.append(sorted([*important_by_head[b], *proxies]))
    return kept


def mean_anchor(vectors):
    return [sum(column) > len(vectors) / 2 for column in zip(*vectors, strict=True)]


def alternating_anchor(vectors):
    return [h % 2 == 1 for h in range(len(vectors[0]))]


@pytest.mark.parametrize(
    ("anchor", "plain"), [("mean", mean_anchor), ("alternating", alternating_anchor)]
)
@pytest.mark.parametrize("num_keep", [4, 9, 19])
def test_representatives_come_from_equal_buckets_by_distance(
    context, kept, received, highest, anchor, plain, num_keep
):
    ctx = context(num_in=20, num_keep=num_keep)
    method = KVCrush(base="h2o", proxy_share=0.5, anchor=anchor)
    num_proxies = num_keep // 2
    num_important = num_keep - num_proxies
    recent = list(range(20 - num_important // 2, 20))

    def with_recent(scores):
        return [float("inf") if n in recent else s for n, s in enumerate(scores)]

    important = [
        highest(with_recent(scores), range(20), num_important) for scores in received(ctx, 20)
    ]
    per_query_head = [with_recent(scores) for scores in received_by_query_head(ctx)]
    expected = plain_kept(ctx, important, per_query_head, plain, num_proxies)
    assert kept(method, ctx) == expected


def received_by_query_head(ctx):
    received = []
    for b in range(ctx.batch):
        for queries_TD in ctx.queries_BGTD[b]:
            logits = queries_TD @ ctx.keys_BND[b].mT * ctx.scaling
            later = torch.ones_like(logits).triu(1).bool()
            received.append(logits.masked_fill(later, float("-inf")).softmax(-1).sum(0).tolist())
    return received


def test_important_entries_are_the_bases_own(context, kept):
    ctx = context(num_in=20, num_keep=12)
    assert kept(KVCrush(base="h2o", proxy_share=0), ctx) == kept(H2O(), ctx)
    fewer = context(num_in=20, num_keep=9)
    for own, crushed in zip(kept(H2O(), fewer), kept(KVCrush(base="h2o"), ctx), strict=True):
        assert set(own) <= set(crushed)


def test_representatives_treat_unlike_tokens_as_unlike(context, kept):
    """Two kinds of evicted tokens, told apart by every head: both kinds are represented."""
    ctx = context(num_in=24, num_keep=8)
    ctx.queries_BGTD[:] = torch.eye(8)[0]
    ctx.keys_BND[:] = 0
    ctx.keys_BND[:, :6, 0] = 9.0
    ctx.keys_BND[:, 6:12, 0] = 8.0
    method = KVCrush(base="h2o", anchor="mean")
    for row in kept(method, ctx):
        assert any(n in row for n in range(6, 12))
        assert any(n in row for n in range(12, 21))


def test_a_base_that_scores_no_cache_is_refused():
    with pytest.raises(ValidationError, match=r"average-pooling.*snapkv"):
        KVCrush(base="average-pooling")
    with pytest.raises(ValidationError, match="snapkv"):
        KVCrush(base="snapvk")
