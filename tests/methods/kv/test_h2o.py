import pytest

from methods.kv.h2o import H2O


@pytest.mark.parametrize("recent_share", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("num_keep", [1, 2, 9, 19])
def test_heavy_hitters_and_recent_entries_share_the_budget(
    context, kept, received, highest, extra_query, recent_share, num_keep
):
    ctx = context(num_in=20, num_keep=num_keep, extra_query=extra_query)
    num_recent = int(recent_share * num_keep)
    recent = list(range(20 - num_recent, 20))
    expected = [
        sorted(highest(scores, range(20 - num_recent), num_keep - num_recent) + recent)
        for scores in received(ctx, 10**6)
    ]
    assert kept(H2O(recent_share=recent_share), ctx) == expected


def test_a_budget_of_one_goes_to_the_heaviest_hitter(context, kept, received):
    ctx = context(num_in=20, num_keep=1)
    expected = [[scores.index(max(scores))] for scores in received(ctx, 20)]
    assert kept(H2O(), ctx) == expected
