import math
from dataclasses import replace

import pytest
import torch

from methods.kv.h2o import H2O
from methods.kv.keyformer import Keyformer

SEED = 3


def seeded(ctx, seed=SEED):
    return replace(ctx, generator=torch.Generator().manual_seed(seed))


def gumbel(draw):
    return -math.log(-math.log(draw))


def plain_scores(ctx, tau_init, tau_delta):
    """One noisy softmax at a time, with the draws that the method is about to make."""
    num_rows = ctx.queries_BGTD.shape[2]
    shape = (*ctx.queries_BGTD.shape[:3], ctx.num_in)
    draws = torch.rand(shape, generator=torch.Generator().manual_seed(SEED)).tolist()
    scores = [[0.0] * ctx.num_in for _ in range(ctx.batch)]
    for b in range(ctx.batch):
        for g in range(shape[1]):
            for t in range(num_rows):
                visible = range(min(t + 1, ctx.num_in))
                logits = ctx.keys_BND[b] @ ctx.queries_BGTD[b, g, t] * ctx.scaling
                tau = tau_init + tau_delta * t
                noisy = [(logits[n].item() + gumbel(draws[b][g][t][n])) / tau for n in visible]
                total = sum(math.exp(x) for x in noisy)
                for n in visible:
                    scores[b][n] += math.exp(noisy[n]) / total / shape[1]
    return scores


@pytest.mark.parametrize(("tau_init", "tau_delta"), [(1.0, 0.0), (2.0, 0.0), (1.0, 0.05)])
def test_scores_accumulate_softmax_of_noisy_logits(context, extra_query, tau_init, tau_delta):
    ctx = context(num_in=12, num_keep=4, extra_query=extra_query)
    method = Keyformer(recent_share=0, tau_init=tau_init, tau_delta=tau_delta)
    expected = torch.tensor(plain_scores(ctx, tau_init, tau_delta))
    torch.testing.assert_close(method.score(seeded(ctx)), expected)


@pytest.mark.parametrize("num_keep", [1, 4, 10, 19])
def test_the_recent_window_is_always_kept(context, kept, num_keep):
    ctx = context(num_in=20, num_keep=num_keep)
    recent = set(range(20 - int(0.3 * num_keep), 20))
    assert all(recent <= set(row) for row in kept(Keyformer(), ctx))


def test_noise_lets_other_tokens_win_than_h2o_keeps(context, kept):
    ctx = context(num_in=40, num_keep=10)
    plain = kept(H2O(recent_share=0.3), ctx)
    noisy = [kept(Keyformer(), seeded(ctx, seed)) for seed in range(4)]
    assert len({str(rows) for rows in noisy}) > 1
    assert any(rows != plain for rows in noisy)


def test_a_high_temperature_forgets_what_queries_look_at(context):
    ctx = context(num_in=12, num_keep=4)
    flat = Keyformer(recent_share=0, tau_init=1e6).score(seeded(ctx))
    even = torch.tensor([sum(1 / (t + 1) for t in range(n, 12)) for n in range(12)])
    torch.testing.assert_close(flat, even.expand_as(flat), rtol=1e-3, atol=1e-3)
