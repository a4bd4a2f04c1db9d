from dataclasses import replace

import pytest
import torch

from methods.kv.cam import BLOCK, CaM, pass_on
from methods.kv.streaming_llm import StreamingLLM

SEED = 5


def plain_values(ctx, attention, num_sinks, merge_budget):
    """Token after token leaves the window and is merged into those behind it, or is not."""
    first = min(num_sinks, ctx.num_keep - 1)
    recent = ctx.num_keep - first
    num_evicted = ctx.num_in - ctx.num_keep
    width = min(merge_budget, recent)
    draws = torch.rand(ctx.batch, num_evicted, generator=torch.Generator().manual_seed(SEED))
    values = ctx.values_BND.clone()
    for b in range(ctx.batch):
        for step in range(num_evicted):
            leaving = first + step
            rows = [head[leaving + recent] for head in attention[b]]
            row = [sum(parts) / len(rows) for parts in zip(*rows, strict=True)]
            window = row[leaving + 1 : leaving + 1 + recent]
            if draws[b, step] < row[leaving] / (sum(window) / len(window)):
                for target in range(leaving + 1, leaving + 1 + width):
                    values[b, target] += values[b, leaving] / width
    return torch.cat([values[:, :first], values[:, ctx.num_in - recent :]], dim=1)


@pytest.mark.parametrize("num_keep", [1, 2, 7, 15, 19])
@pytest.mark.parametrize("merge_budget", [1, 3, 32])
def test_values_leaving_the_window_are_shared_by_those_behind(
    context, attention, extra_query, num_keep, merge_budget
):
    ctx = context(num_in=20, num_keep=num_keep, extra_query=extra_query)
    ctx = replace(ctx, generator=torch.Generator().manual_seed(SEED))
    method = CaM(num_sinks=3, merge_budget=merge_budget)
    merged = method.merged_values(ctx, method.transform(ctx))
    expected = plain_values(ctx, attention(ctx), 3, merge_budget)
    torch.testing.assert_close(merged, expected)


def test_values_are_passed_on_from_block_to_block():
    draw = torch.Generator().manual_seed(0)
    values = torch.randn(2, 3 * BLOCK + 30, 4, generator=draw)
    shares = torch.rand(2, 2 * BLOCK + 7, generator=draw) / 9
    expected = values.clone()
    for leaving in range(shares.shape[1]):
        share = shares[:, leaving, None, None] * expected[:, leaving, None]
        expected[:, leaving + 1 : leaving + 10] += share
    pass_on(values, shares, width=9)
    torch.testing.assert_close(values, expected)


def test_keys_are_those_of_streaming_llm(context, kept):
    ctx = context(num_in=20, num_keep=9)
    assert kept(CaM(), ctx) == kept(StreamingLLM(), ctx)


def test_no_value_is_lost_where_attention_is_even(context):
    """Every evicted value is handed on for certain, so that sums stay what they were."""
    ctx = context(num_in=20, num_keep=7)
    ctx.queries_BGTD.zero_()
    method = CaM(merge_budget=2)
    merged = method.merged_values(ctx, method.transform(ctx))
    torch.testing.assert_close(merged.sum(1), ctx.values_BND.sum(1))


def test_values_nobody_attends_to_are_dropped(context):
    ctx = context(num_in=20, num_keep=7)
    ctx.queries_BGTD[:] = torch.eye(8)[0]
    ctx.keys_BND[:] = 0
    ctx.keys_BND[..., 0] = 1000.0 * torch.arange(20)
    method = CaM()
    transform = method.transform(ctx)
    assert torch.equal(method.merged_values(ctx, transform), transform(ctx.values_BND))
