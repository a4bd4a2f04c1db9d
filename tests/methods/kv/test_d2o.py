import math

import pytest
import torch

from methods.kv.d2o import D2O


def cosine(a, b):
    return (a @ b / (a.norm() * b.norm())).item()


def plain_rows(keys, kept):
    """W of one head, row by row, from equations 5 to 8."""
    evicted = [n for n in range(len(keys)) if n not in kept]
    matches = []
    for n in evicted:
        similarities = [cosine(keys[n], keys[k]) for k in kept]
        matches.append((max(similarities), similarities.index(max(similarities)), n))
    threshold = sum(u for u, _, _ in matches) / len(matches)
    rows = [{k: math.e} for k in kept]
    for similarity, row, n in matches:
        if similarity >= threshold:
            rows[row][n] = math.exp(similarity)
    return [{n: w / sum(row.values()) for n, w in row.items()} for row in rows]


@pytest.mark.parametrize("num_keep", [1, 6, 15, 19])
def test_similar_evicted_entries_are_averaged_into_their_nearest(
    context, received, highest, extra_query, num_keep
):
    ctx = context(num_in=20, num_keep=num_keep, extra_query=extra_query)
    dense = D2O(num_sinks=2).transform(ctx).dense()
    recent = range(20 - num_keep // 2, 20)
    for b, scores in enumerate(received(ctx, 10**6)):
        scores[:2] = [1e6, 1e6]
        chosen = highest(scores, range(20 - len(recent)), num_keep - len(recent))
        expected = torch.zeros(num_keep, 20)
        for k, row in enumerate(plain_rows(ctx.keys_BND[b], sorted([*chosen, *recent]))):
            for n, weight in row.items():
                expected[k, n] = weight
        torch.testing.assert_close(dense[b], expected)


def test_an_evicted_copy_of_a_kept_key_is_called_back_and_a_stranger_is_not(context):
    ctx = context(num_in=20, num_keep=4)
    ctx.keys_BND[:] = torch.eye(20)[:, :8].repeat(ctx.batch, 1, 1)
    ctx.keys_BND[:, 10] = 5 * ctx.keys_BND[:, 0]
    ctx.keys_BND[:, 11] = -ctx.keys_BND[:, 0]
    ctx.queries_BGTD.zero_()
    dense = D2O(num_sinks=4, recent_share=0).transform(ctx).dense()
    torch.testing.assert_close(dense[:, 0, [0, 10]], torch.full((ctx.batch, 2), 0.5))
    assert (dense[:, :, 11] == 0).all()


def test_what_is_merged_stays_within_the_values_it_came_from(context):
    ctx = context(num_keep=5)
    values = D2O().transform(ctx)(ctx.values_BND)
    assert (values <= ctx.values_BND.amax(1, keepdim=True)).all()
    assert (values >= ctx.values_BND.amin(1, keepdim=True)).all()
