from dataclasses import replace

import pytest
import torch

from methods.kv import _attention


@pytest.mark.parametrize("num_rows", [1, 5, 100])
def test_received_attention_is_a_sum_of_causal_softmax_rows(
    context, received, extra_query, num_rows
):
    ctx = context(extra_query=extra_query)
    expected = torch.tensor(received(ctx, num_rows))
    torch.testing.assert_close(_attention.received_attention(ctx, num_rows), expected)


def test_working_in_blocks_of_rows_changes_nothing(context, monkeypatch):
    ctx = context(num_in=19)
    at_once = _attention.received_attention(ctx, 19)
    monkeypatch.setattr(_attention, "ROWS_AT_ONCE", 4)
    torch.testing.assert_close(_attention.received_attention(ctx, 19), at_once)


def test_half_precision_is_summed_in_single_precision(context):
    ctx = context(num_in=300)
    half = replace(ctx, keys_BND=ctx.keys_BND.bfloat16(), queries_BGTD=ctx.queries_BGTD.bfloat16())
    received_BN = _attention.received_attention(half, 300)
    assert received_BN.dtype == torch.float32
    torch.testing.assert_close(received_BN.sum(1), torch.full((ctx.batch,), 300.0))


@pytest.mark.parametrize("num_rows", [1, 5, 100])
def test_one_pass_gives_what_two_would(context, extra_query, monkeypatch, num_rows):
    monkeypatch.setattr(_attention, "ROWS_AT_ONCE", 4)
    ctx = context(num_in=19, extra_query=extra_query)
    global_BN, local_BN = _attention.received_globally_and_locally(ctx, num_rows)
    torch.testing.assert_close(global_BN, _attention.received_attention(ctx, 100))
    torch.testing.assert_close(local_BN, _attention.received_attention(ctx, num_rows))
