import pytest
from pydantic import ValidationError

from methods.kv.snapkv import SnapKV

POOLS = {"average": lambda scores, size: sum(scores) / size, "max": lambda scores, _: max(scores)}


def plain_pool(scores, size, pooling):
    """Pooling with a window that is cut at both ends; what is missing counts as zero."""
    half = size // 2
    return [
        POOLS[pooling](scores[max(i - half, 0) : i + half + 1], size) for i in range(len(scores))
    ]


@pytest.mark.parametrize("pooling", ["average", "max"])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize(("window_size", "num_keep"), [(4, 12), (6, 12), (1, 2)])
def test_pooled_window_attention_selects_what_joins_the_window(
    context, kept, received, highest, pooling, kernel_size, window_size, num_keep
):
    ctx = context(num_in=20, num_keep=num_keep)
    prefix = 20 - window_size
    expected = []
    for scores in received(ctx, window_size):
        pooled = plain_pool(scores[:prefix], kernel_size, pooling)
        chosen = highest(pooled, range(prefix), num_keep - window_size)
        expected.append(sorted(chosen + list(range(prefix, 20))))
    method = SnapKV(window_size=window_size, kernel_size=kernel_size, pooling=pooling)
    assert kept(method, ctx) == expected


@pytest.mark.parametrize("num_keep", [2, 7, 19])
def test_a_window_larger_than_half_of_the_budget_shrinks_to_it(context, kept, num_keep):
    ctx = context(num_in=20, num_keep=num_keep)
    fitting = SnapKV(window_size=num_keep // 2)
    assert kept(SnapKV(window_size=32), ctx) == kept(fitting, ctx)


def test_a_budget_of_one_goes_to_what_the_last_query_looks_at(context, kept, received, extra_query):
    ctx = context(num_in=20, num_keep=1, extra_query=extra_query)
    expected = [[scores.index(max(scores))] for scores in received(ctx, 1)]
    assert kept(SnapKV(kernel_size=1), ctx) == expected


def test_a_last_token_without_entry_observes_but_takes_no_room(context, kept, received, highest):
    ctx = context(num_in=20, num_keep=12, extra_query=True)
    expected = []
    for scores in received(ctx, 4):
        chosen = highest(scores, range(17), 9)
        expected.append(sorted([*chosen, 17, 18, 19]))
    assert kept(SnapKV(window_size=4, kernel_size=1), ctx) == expected


def test_a_kernel_without_centre_is_refused():
    with pytest.raises(ValidationError, match="must be odd"):
        SnapKV(kernel_size=4)
