import pytest

from methods.kv.streaming_llm import StreamingLLM


@pytest.mark.parametrize(
    ("num_keep", "expected"),
    [
        (8, [0, 1, 2, 3, 16, 17, 18, 19]),
        (5, [0, 1, 2, 3, 19]),
        (4, [0, 1, 2, 19]),
        (1, [19]),
        (19, [0, 1, 2, *range(3, 4), *range(5, 20)]),
    ],
)
def test_sinks_and_latest_entries_stay_and_the_latest_always_does(
    context, kept, num_keep, expected
):
    ctx = context(num_in=20, num_keep=num_keep)
    assert kept(StreamingLLM(), ctx) == [expected] * ctx.batch


def test_without_sinks_it_is_a_recent_window(context, kept):
    ctx = context(num_in=20, num_keep=3)
    assert kept(StreamingLLM(num_sinks=0), ctx) == [[17, 18, 19]] * ctx.batch
