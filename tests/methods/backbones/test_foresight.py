"""What an oracle is told is what the uncompressed model does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from methods.backbones.causal_lm import CausalLMBackbone
from methods.backbones.library import tapped_attention
from methods.contexts import CacheContext
from methods.kv.oracle import Oracle
from methods.schedule import Uniform

LAYERS, HEADS, KV_HEADS, LENGTH, NUM_NEW = 2, 4, 2, 20, 3
CONFIG = LlamaConfig(
    vocab_size=50,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=LAYERS,
    num_attention_heads=HEADS,
    num_key_value_heads=KV_HEADS,
    initializer_range=0.3,
)


def model(attention: str) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM._from_config(CONFIG, attn_implementation=attention).eval()


def tokens(length: int, seed: int) -> Tensor:
    return torch.randint(0, 50, (2, length), generator=torch.Generator().manual_seed(seed))


PROMPT, CONTINUATION = tokens(LENGTH, 1), tokens(2, 2)


class Spy(Oracle):
    """An oracle that notes what it was shown."""

    def score(self, ctx: CacheContext) -> Tensor:
        seen.append(ctx)
        return super().score(ctx)


seen: list[CacheContext] = []


@pytest.mark.parametrize("with_continuation", [True, False])
def test_an_oracle_is_shown_the_attention_of_all_that_follows(with_continuation: bool) -> None:
    seen.clear()
    rest = CONTINUATION if with_continuation else CONTINUATION[:, :0]
    backbone = CausalLMBackbone(model(tapped_attention.NAME))
    uncompressed = backbone.generate(PROMPT, rest, NUM_NEW)
    with backbone.compressed(Spy(), Uniform(), 0.5, 0):
        backbone.generate(PROMPT, rest, NUM_NEW)
    num_cached = LENGTH if with_continuation else LENGTH - 1
    whole = torch.cat([PROMPT, rest, uncompressed[:, :-1]], dim=1)
    with torch.no_grad():
        attentions = model("eager")(whole, output_attentions=True).attentions
    for ctx, attention_BHTT in zip(seen, attentions, strict=True):
        paid_BHN = attention_BHTT[:, :, num_cached:, :num_cached].sum(2)
        expected = paid_BHN.view(2 * KV_HEADS, HEADS // KV_HEADS, num_cached).mean(1)
        assert ctx.future_BN is not None
        torch.testing.assert_close(ctx.future_BN, expected, atol=1e-5, rtol=1e-5)


def test_a_rehearsal_leaves_no_trace() -> None:
    backbone = CausalLMBackbone(model(tapped_attention.NAME))
    expected = backbone.generate(PROMPT, CONTINUATION, NUM_NEW)
    with backbone.compressed(Oracle(), Uniform(), 0.5, 0) as compression:
        backbone.generate(PROMPT, CONTINUATION, NUM_NEW)
        assert compression.tokens_per_layer == [LENGTH // 2] * LAYERS
        assert compression.reads == NUM_NEW * LAYERS
    assert torch.equal(backbone.generate(PROMPT, CONTINUATION, NUM_NEW), expected)


def test_each_prompt_has_its_own_future() -> None:
    backbone = CausalLMBackbone(model(tapped_attention.NAME))
    seen.clear()
    with backbone.compressed(Spy(), Uniform(), 0.5, 0):
        for prompt in (PROMPT, tokens(LENGTH - 6, 3)):
            backbone.continuation_logits(prompt, CONTINUATION)
    assert [ctx.num_in for ctx in seen] == [LENGTH] * LAYERS + [LENGTH - 6] * LAYERS
    assert not torch.equal(seen[0].future_BN[:, :10], seen[LAYERS].future_BN[:, :10])  # type: ignore[index]
