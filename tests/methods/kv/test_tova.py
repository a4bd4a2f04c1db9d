import pytest

from methods.kv.tova import TOVA


@pytest.mark.parametrize("num_keep", [1, 8, 19])
def test_the_last_querys_attention_over_all_heads_decides_for_the_layer(
    context, kept, received, highest, extra_query, num_keep
):
    ctx = context(num_in=20, num_keep=num_keep, extra_query=extra_query, num_sequences=3)
    by_row = received(ctx, 1)
    expected = []
    for sequence in range(3):
        heads = by_row[sequence * ctx.num_heads : (sequence + 1) * ctx.num_heads]
        scores = [sum(column) for column in zip(*heads, strict=True)]
        expected += [sorted(highest(scores, range(20), num_keep))] * ctx.num_heads
    assert kept(TOVA(), ctx) == expected
