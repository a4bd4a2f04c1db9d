import torch

from methods.kv.keydiff import KeyDiff


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True)) / (norm(a) * norm(b))


def norm(a):
    return sum(x * x for x in a) ** 0.5


def test_keys_least_like_the_average_direction_stay(context, kept, highest):
    ctx = context(num_in=20, num_keep=7)
    expected = []
    for keys in ctx.keys_BND.tolist():
        directions = [[x / norm(key) for x in key] for key in keys]
        anchor = [sum(column) / len(keys) for column in zip(*directions, strict=True)]
        scores = [-cosine(key, anchor) for key in keys]
        expected.append(sorted(highest(scores, range(20), 7)))
    assert kept(KeyDiff(), ctx) == expected


def test_a_key_that_points_elsewhere_is_kept_first(context, kept):
    ctx = context(num_in=20, num_keep=1)
    ctx.keys_BND[:] = torch.ones(8) + 0.1 * ctx.keys_BND
    ctx.keys_BND[:, 13] *= -0.01
    assert kept(KeyDiff(), ctx) == [[13]] * ctx.batch


def test_queries_do_not_matter(context, kept):
    ctx = context()
    before = kept(KeyDiff(), ctx)
    ctx.queries_BGTD.neg_()
    assert kept(KeyDiff(), ctx) == before
