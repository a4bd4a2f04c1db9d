"""Caches whose heads hold different numbers of entries."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from methods.backbones import attention_tap
from methods.backbones.causal_lm import CausalLMBackbone
from methods.backbones.library import tapped_attention
from methods.backbones.library.kv_cache import RaggedLayer
from methods.base import InfeasibleError
from methods.kv.adakv import AdaKV
from methods.kv.snapkv import SnapKV
from methods.registry import build
from methods.schedule import OneLayer, Uniform

LAYERS, HEADS, KV_HEADS, WIDTH, LENGTH = 3, 4, 2, 8, 24


@pytest.fixture(scope="module")
def llama() -> CausalLMBackbone:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=HEADS * WIDTH,
        intermediate_size=48,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        initializer_range=0.3,
        attn_implementation=tapped_attention.NAME,
    )
    return CausalLMBackbone(LlamaForCausalLM(config))


def tokens(length: int, seed: int) -> Tensor:
    return torch.randint(0, 50, (2, length), generator=torch.Generator().manual_seed(seed))


PROMPT, CONTINUATION = tokens(LENGTH, 1), tokens(3, 2)


def test_heads_get_their_own_entries_and_padding_is_marked() -> None:
    entries = torch.arange(10.0).view(1, 5, 2)
    layer = RaggedLayer(entries, -entries, torch.tensor([[4, 1]]), seen=9)
    new = torch.full((1, 2, 1, 2), 50.0)
    keys, values = layer.update(new, -new)
    assert torch.equal(values, -keys)
    assert layer.padding.tolist() == [[[False] * 4, [False, True, True, True]]]
    assert torch.equal(keys[0, 0, :4], entries[0, :4])
    assert torch.equal(keys[0, 1, 0], entries[0, 4])
    assert (keys[:, :, 4] == 50).all()
    assert layer.seen == 10


def test_what_is_held_is_what_memory_holds() -> None:
    entries = torch.zeros(3, 8, 4)
    layer = RaggedLayer(entries, entries.clone(), torch.tensor([[6, 2]] * 3), seen=30)
    assert layer.held == 4
    assert layer.num_bytes == 2 * 3 * 8 * 4 * 4
    new = torch.zeros(3, 2, 1, 4)
    layer.update(new, new)
    assert layer.held == 5
    assert layer.num_bytes == 2 * 3 * 10 * 4 * 4


def test_forgetting_new_tokens_leaves_the_prompts_entries() -> None:
    entries = torch.arange(10.0).view(1, 5, 2)
    layer = RaggedLayer(entries, -entries, torch.tensor([[4, 1]]), seen=9)
    new = torch.arange(12.0).view(1, 2, 3, 2)
    before, _ = layer.update(new, -new)
    layer.truncate(10)
    assert layer.seen == 10
    after, _ = layer.update(new[:, :, 1:], -new[:, :, 1:])
    assert torch.equal(after, before)


def test_another_storage_format_is_refused(llama: CausalLMBackbone) -> None:
    stages = ({"method": "adakv"}, {"method": "kivi", "params": {"residual": 0, "group_size": 4}})
    stack = build("stack", {"stages": stages})
    with (
        pytest.raises(InfeasibleError, match="equally many"),
        llama.compressed(stack, Uniform(), 0.5, 0),
    ):
        llama.generate(PROMPT, CONTINUATION, 1)


def test_even_budgets_read_like_an_even_cache(llama: CausalLMBackbone) -> None:
    with llama.compressed(SnapKV(), Uniform(), 0.3, 0):
        expected = llama.continuation_logits(PROMPT, CONTINUATION)
    with llama.compressed(AdaKV(floor=1.0), Uniform(), 0.3, 0):
        ragged = llama.continuation_logits(PROMPT, CONTINUATION)
    torch.testing.assert_close(ragged, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("schedule", [Uniform(), OneLayer(layer=1)], ids=lambda s: s.label)
def test_uneven_budgets_read_like_a_full_cache_in_which_the_rest_is_masked(
    llama: CausalLMBackbone, schedule: Uniform | OneLayer
) -> None:
    with llama.compressed(AdaKV(base="keydiff", floor=0.0), schedule, 0.3, 0) as compression:
        ragged = llama.continuation_logits(PROMPT, CONTINUATION)
        kept = {
            layer: w.dense().amax(1).view(2, KV_HEADS, LENGTH) > 0
            for layer, w in compression.transforms["kv"].items()
        }
        assert any(len(set(one.sum(-1).flatten().tolist())) > 1 for one in kept.values())
    modules = [layer.self_attn for layer in llama.model.model.layers]

    def mask(module: torch.nn.Module, call: attention_tap.AttentionCall) -> object:
        layer, num_new = modules.index(module), call.query_BHTD.shape[2]
        if num_new == LENGTH or layer not in kept:
            return call
        visible_BHQS = torch.ones(2, HEADS, num_new, LENGTH + num_new, dtype=torch.bool)
        visible_BHQS[..., :LENGTH] = kept[layer].repeat_interleave(2, dim=1)[:, :, None]
        return replace(call, mask=visible_BHQS.tril(LENGTH))

    with attention_tap.attach(modules, mask):  # type: ignore[arg-type]
        expected = llama.continuation_logits(PROMPT, CONTINUATION)
    torch.testing.assert_close(ragged, expected, atol=1e-5, rtol=1e-5)


def test_generation_appends_the_same_for_all_heads(llama: CausalLMBackbone) -> None:
    with llama.compressed(AdaKV(), Uniform(), 0.25, 0) as compression:
        assert llama.generate(PROMPT, CONTINUATION, 4).shape == (2, 4)
        assert compression.tokens_per_layer == [6] * LAYERS
        assert compression.kv_bytes == LAYERS * 6 * 2 * KV_HEADS * WIDTH * 4
