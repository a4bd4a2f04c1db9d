from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from pydantic import ValidationError

from methods.kv.adakv import AdaKV
from methods.kv.keydiff import KeyDiff
from methods.kv.snapkv import SnapKV

NUM_HEADS = 2


def plain_budgets(scores_by_head, total, even, floor):
    """Heads win what the best entries of all of them give, moved towards the even budget."""
    floor = Fraction(str(floor))
    everything = [(s, h) for h, scores in enumerate(scores_by_head) for s in scores]
    winners = [h for _, h in sorted(everything, key=lambda pair: -pair[0])[:total]]
    wanted = [(1 - floor) * winners.count(h) + floor * even for h in range(len(scores_by_head))]
    budgets = [int(w) for w in wanted]
    by_remainder = sorted(range(len(wanted)), key=lambda h: -(wanted[h] - budgets[h]))
    for h in by_remainder[: total - sum(budgets)]:
        budgets[h] += 1
    return budgets


def kept_by_head(method, ctx):
    transform = method.transform(ctx)
    assert transform.num_in == NUM_HEADS * ctx.num_in
    assert transform.num_out == NUM_HEADS * ctx.num_keep
    assert (transform.weights == 1).all()
    assert (transform.cols.diff(dim=1) > 0).all()
    return [
        [c % ctx.num_in for c in cols if c // ctx.num_in == head]
        for cols in transform.cols.tolist()
        for head in range(NUM_HEADS)
    ]


@pytest.mark.parametrize("floor", [0.0, 0.2, 0.55, 1.0])
@pytest.mark.parametrize("num_keep", [1, 7, 16])
def test_heads_win_their_budgets_and_spend_them_on_their_best(
    context, highest, extra_query, num_keep, floor
):
    ctx = context(num_in=17, num_keep=num_keep, extra_query=extra_query)
    scores = KeyDiff().score(ctx).tolist()
    expected = []
    for first in range(0, ctx.batch, NUM_HEADS):
        heads = scores[first : first + NUM_HEADS]
        budgets = plain_budgets(heads, NUM_HEADS * num_keep, num_keep, floor)
        expected += [
            sorted(highest(head, range(17), budget))
            for head, budget in zip(heads, budgets, strict=True)
        ]
    assert kept_by_head(AdaKV(base="keydiff", floor=floor), ctx) == expected


def test_heads_of_equal_remainder_are_settled_for_the_earlier_one(context):
    """0.8 x (0, 0, 3, 5) + 0.4 is (0.4, 0.4, 2.8, 4.4), of which floats make 4.4 the largest .4."""
    ctx = replace(context(num_in=8, num_keep=2), num_heads=4)
    winners = [2] * 3 + [3] * 5
    scores_SF = torch.zeros(1, 4 * 8)
    for place, head in enumerate(winners):
        scores_SF[0, 8 * head + place] = 1
    assert AdaKV(floor=0.2).budgets(ctx, scores_SF).tolist() == [[1, 0, 3, 4]]


def test_a_floor_of_one_gives_every_head_the_same(context, kept):
    ctx = context(num_in=20, num_keep=8)
    assert kept_by_head(AdaKV(floor=1.0), ctx) == kept(SnapKV(), ctx)


def test_a_head_that_looks_at_one_token_leaves_room_to_one_that_looks_everywhere(context):
    ctx = context(num_in=40, num_keep=16)
    ctx.queries_BGTD[:] = 1.0
    ctx.keys_BND[:] = 0.0
    ctx.keys_BND[::NUM_HEADS, 5] = 30.0
    won = [len(row) for row in kept_by_head(AdaKV(floor=0.2), ctx)]
    narrow, wide = won[::NUM_HEADS], won[1::NUM_HEADS]
    assert max(narrow) < min(wide)
    assert min(narrow) >= int(0.2 * 16)


def test_sequences_of_a_batch_do_not_compete(context):
    ctx = context(num_sequences=3)
    together = kept_by_head(AdaKV(), ctx)
    ctx.keys_BND[NUM_HEADS:] *= 3
    assert kept_by_head(AdaKV(), ctx)[:NUM_HEADS] == together[:NUM_HEADS]


def test_a_base_that_scores_nothing_is_refused():
    with pytest.raises(ValidationError, match="identity"):
        AdaKV(base="identity")
