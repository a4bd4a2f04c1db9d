from dataclasses import replace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from methods.backbones import attention_tap
from methods.backbones.library import tapped_attention

CONFIG = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The same weights opened with the library's attention and with ours."""
    folder = tmp_path_factory.mktemp("llama")
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**CONFIG)).save_pretrained(folder)
    return tuple(
        LlamaForCausalLM.from_pretrained(folder, attn_implementation=name).eval()
        for name in ("sdpa", tapped_attention.NAME)
    )


@pytest.fixture(scope="module")
def tokens():
    return torch.randint(0, 50, (3, 11), generator=torch.Generator().manual_seed(1))


def attention_modules(model):
    return [layer.self_attn for layer in model.model.layers]


def unchanged(module, call):
    return call


@torch.no_grad()
def test_without_a_tap_it_is_sdpa_bit_for_bit(models, tokens):
    sdpa, ours = models
    assert torch.equal(sdpa(tokens).logits, ours(tokens).logits)


@torch.no_grad()
def test_padded_batches_get_their_mask(models, tokens):
    sdpa, ours = models
    mask_BT = torch.ones_like(tokens)
    mask_BT[0, :4] = 0
    expected = sdpa(tokens, attention_mask=mask_BT).logits
    assert torch.equal(expected, ours(tokens, attention_mask=mask_BT).logits)
    unpadded = sdpa(tokens[:1, 4:]).logits
    torch.testing.assert_close(expected[:1, 4:], unpadded, atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_tap_that_changes_nothing_changes_no_bit(models, tokens):
    sdpa, ours = models
    with attention_tap.attach(attention_modules(ours), unchanged):
        assert torch.equal(sdpa(tokens).logits, ours(tokens).logits)


@torch.no_grad()
def test_a_tap_sees_every_attention_call_of_its_modules_only(models, tokens):
    _, ours = models
    calls = []

    def record(module, call):
        calls.append((module, call.query_BHTD.shape, call.key_BKND.shape, call.value_BKND.shape))
        return call

    tapped = attention_modules(ours)[1]
    with attention_tap.attach([tapped], record):
        ours(tokens)
    assert calls == [(tapped, (3, 4, 11, 8), (3, 2, 11, 8), (3, 2, 11, 8))]


@torch.no_grad()
def test_the_mask_a_tap_returns_is_the_one_used(models, tokens):
    sdpa, ours = models
    visible = torch.ones(11, 11, dtype=torch.bool).tril()
    visible[5:, 2] = False
    expected = sdpa(tokens, attention_mask=visible.expand(3, 1, 11, 11)).logits

    def hide(module, call):
        return replace(call, mask=visible[None, None])

    with attention_tap.attach(attention_modules(ours), hide):
        hidden = ours(tokens).logits
    torch.testing.assert_close(hidden, expected, atol=1e-5, rtol=0)
    assert (hidden[:, 5:] - sdpa(tokens).logits[:, 5:]).abs().max() > 1e-3


def test_taps_are_gone_after_an_error(models):
    _, ours = models
    inside = []

    def fail():
        with attention_tap.attach(attention_modules(ours), unchanged):
            inside.extend(map(attention_tap.is_tapped, attention_modules(ours)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert inside == [True, True]
    assert not any(map(attention_tap.is_tapped, attention_modules(ours)))


def test_taps_see_a_call_in_the_order_in_which_they_were_attached(models, tokens):
    _, ours = models
    seen = []

    def scaled(module, call):
        seen.append("scaled")
        return replace(call, value_BKND=call.value_BKND * 0)

    def looking(module, call):
        seen.append("looking")
        assert not call.value_BKND.any()
        return call

    modules = attention_modules(ours)
    with attention_tap.attach(modules, scaled), attention_tap.attach(modules, looking):
        ours(tokens)
        assert attention_tap.is_tapped(modules[0])
    assert seen == ["scaled", "looking"] * len(modules)
    assert not attention_tap.is_tapped(modules[0])
