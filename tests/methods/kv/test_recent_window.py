import pytest

from methods.kv.recent_window import RecentWindow


@pytest.mark.parametrize("num_keep", [1, 7, 19])
def test_the_latest_entries_stay(context, kept, num_keep):
    ctx = context(num_in=20, num_keep=num_keep)
    assert kept(RecentWindow(), ctx) == [list(range(20 - num_keep, 20))] * ctx.batch
