import pytest
import torch

from methods.kv.ems import EMS


def shares(scores):
    return [x / sum(scores) for x in scores]


def global_local(received, ctx, window):
    both = zip(received(ctx, 10**6), received(ctx, max(window, 1)), strict=True)
    return [
        [max(pair) for pair in zip(shares(everywhere), shares(nearby), strict=True)]
        for everywhere, nearby in both
    ]


def plain_rows(keys, scores, kept, centres, band, tau):
    """W of one head: the zero class is one more centre, with the same similarity to everything."""
    rows = {k: {k: scores[k]} for k in kept}
    for n in band:
        similarities = {c: torch.cosine_similarity(keys[n], keys[c], dim=0).item() for c in centres}
        nearest = max(similarities, key=lambda c: similarities[c])
        if similarities[nearest] > tau:
            rows[nearest][n] = scores[n]
    return [{n: w / sum(row.values()) for n, w in row.items()} for row in rows.values()]


@pytest.mark.parametrize("tau", [-1.0, 0.2, 0.6])
@pytest.mark.parametrize(("num_keep", "merge_share"), [(1, 3.0), (6, 0.5), (8, 1.0), (15, 1.0)])
def test_the_best_are_centres_the_next_join_them_and_the_rest_goes(
    context, received, highest, extra_query, num_keep, merge_share, tau
):
    ctx = context(num_in=20, num_keep=num_keep, extra_query=extra_query)
    window = min(4, num_keep // 2)
    method = EMS(window_size=4, merge_share=merge_share, tau=tau)
    dense = method.transform(ctx).dense()
    for b, scores in enumerate(global_local(received, ctx, window)):
        centres = sorted(highest(scores, range(20 - window), num_keep - window))
        kept = [*centres, *range(20 - window, 20)]
        rest = [n for n in range(20) if n not in kept]
        band = highest(scores, rest, min(int(merge_share * num_keep), len(rest)))
        expected = torch.zeros(num_keep, 20)
        for k, row in enumerate(plain_rows(ctx.keys_BND[b], scores, kept, centres, band, tau)):
            for n, weight in row.items():
                expected[k, n] = weight
        torch.testing.assert_close(dense[b], expected)


def test_a_zero_class_nearer_than_any_centre_takes_everything(context):
    ctx = context(num_keep=8)
    ctx.keys_BND[:, 1:] += 1e-3
    assert (EMS(tau=1.0).transform(ctx).dense().max(2).values == 1).all()
    assert (EMS(tau=-1.0).transform(ctx).dense().max(2).values < 1).any()


def test_global_and_local_attention_both_count(context, received):
    """A token that one of the two scores highest is never behind one that leads in neither."""
    ctx = context(num_in=30, num_keep=12)
    scores_BN = EMS(window_size=4).score(ctx)
    for b in range(ctx.batch):
        for rows in (10**6, 4):
            received_N = torch.tensor(received(ctx, rows)[b])[:26]
            share = received_N.max() / sum(received(ctx, rows)[b])
            assert scores_BN[b, received_N.argmax()] >= share - 1e-6
