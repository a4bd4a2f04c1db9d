"""Caches of edited prompts: what is reused, where it stands, and what is refused."""

import math

import pytest
import torch
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from methods.backbones.base import Compression, VacuousCompressionError
from methods.backbones.cache_editor import CacheEditor, KnownCache, known_cache
from methods.backbones.causal_lm import CausalLMBackbone
from methods.backbones.library.kv_cache import new_cache
from methods.base import InfeasibleError
from methods.composition.stack import Stack
from methods.edit._base import Edit, EditContext
from methods.edit._rotary import between, turned
from methods.edit.conflict_fast_encoding import ConflictFastEncoding
from methods.edit.pie import PIE
from methods.edit.prefix_reuse import PrefixReuse
from methods.schedule import Uniform
from sweeps.data import contexts
from sweeps.data.edits import KINDS
from sweeps.tasks.edited_recall import EditedRecall

METHODS = [PIE(), ConflictFastEncoding(), PrefixReuse()]
every_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.id())
NEW = 4
STATIC_ROPES = {
    "default": {"rope_type": "default", "rope_theta": 10000.0},
    "linear": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
    "yarn": {
        "rope_type": "yarn",
        "rope_theta": 10000.0,
        "factor": 4.0,
        "original_max_position_embeddings": 64,
    },
    "llama3": {
        "rope_type": "llama3",
        "rope_theta": 10000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
}


@pytest.fixture(scope="module")
def before():
    """Real test contexts of the recall task."""
    return torch.from_numpy(contexts.stream("test", 4, 96, 6).context)


@pytest.fixture(scope="module")
def question():
    return torch.from_numpy(contexts.stream("test", 4, 96, 6).question)


def some_tokens(length, batch=4):
    generator = torch.Generator().manual_seed(length)
    return torch.randint(4, contexts.VOCABULARY, (batch, length), generator=generator)


def editing(backbone, method):
    return backbone.compressed(method, Uniform(), method.fixed_ratio, 0)


@torch.no_grad()
def read(backbone, tokens):
    return known_cache(tokens, new_cache(backbone.num_layers), backbone._read)


@torch.no_grad()
def edited(backbone, method, known, edit):
    cache = new_cache(backbone.num_layers)
    CacheEditor(method, backbone.model, Compression()).fill(cache, known, edit)
    layers = tuple((layer.keys, layer.values) for layer in cache.layers)
    assert {layer.seen for layer in cache.layers} == {layers[0][0].shape[2]}
    return KnownCache(edit.applied(known.tokens_BT), layers)


@torch.inference_mode()
def edited_logits(backbone, before, edit, continuation):
    """Logits after the edited prompt and each token of its continuation."""
    with backbone._edited_read(before, edit, continuation) as (cache, fed):
        return backbone._next_logits(cache, fed)


def tiny(rope):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=contexts.VOCABULARY,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        rope_parameters=rope,
    )
    return CausalLMBackbone(LlamaForCausalLM(config))


# The rotation


def test_a_key_turns_plane_by_plane_as_written_out_in_plain_python():
    key, old, new, base = [0.3, -1.2, 2.0, 0.7, 0.1, -0.5], 11, 4, 10000.0
    half = len(key) // 2
    expected = [0.0] * len(key)
    for plane in range(half):
        angle = (new - old) * base ** (-plane / half)
        x, y = key[plane], key[plane + half]
        expected[plane] = x * math.cos(angle) - y * math.sin(angle)
        expected[plane + half] = x * math.sin(angle) + y * math.cos(angle)
    frequencies = base ** (-torch.arange(half) / half)

    def rotary(positions):
        angles = (positions[:, None] * frequencies).repeat(1, 2)
        return angles.cos(), angles.sin()

    context = EditContext(
        keys_BKSD=torch.tensor(key)[None, None, None],
        positions_S=torch.tensor([old]),
        shift=new - old,
        rotary=rotary,
    )
    torch.testing.assert_close(PIE().keys(context)[0, 0, 0], torch.tensor(expected))


@pytest.mark.parametrize("rope", STATIC_ROPES)
@pytest.mark.parametrize("shift", [-7, 0, 13])
def test_a_turned_key_is_the_key_before_rotation_rotated_at_its_new_position(rope, shift):
    rotary_emb = tiny(STATIC_ROPES[rope]).model.base_model.rotary_emb
    plain = torch.randn(2, 2, 20, 8, generator=torch.Generator().manual_seed(1))

    def rotary(positions):
        cos, sin = rotary_emb(plain, positions[None])
        return cos[0], sin[0]

    positions = torch.arange(10, 30)
    cached = turned(plain, rotary(positions))
    context = EditContext(keys_BKSD=cached, positions_S=positions, shift=shift, rotary=rotary)
    expected = turned(plain, rotary(positions + shift))
    torch.testing.assert_close(PIE().keys(context), expected, atol=1e-5, rtol=1e-5)
    one_after_the_other = turned(
        turned(cached, (rotary(positions)[0], -rotary(positions)[1])), rotary(positions + shift)
    )
    scale = rotary_emb.attention_scaling**2
    torch.testing.assert_close(PIE().keys(context) * scale, one_after_the_other)


def test_the_rotation_is_the_same_for_every_entry():
    positions = torch.arange(5, 25)
    emb = tiny(STATIC_ROPES["default"]).model.base_model.rotary_emb
    old, new = ([t[0] for t in emb(torch.empty(0), p[None])] for p in (positions, positions + 9))
    for angles in between(tuple(old), tuple(new)):
        torch.testing.assert_close(angles, angles[:1].expand_as(angles))


# The cache


@pytest.mark.parametrize("kind", KINDS)
def test_pie_has_the_first_layers_keys_of_a_prompt_read_from_scratch(recall_model, kind):
    """The first layer has read no context; deeper ones are close to what they would be."""
    batch = EditedRecall(num_examples=8, edit=kind).batches()[0]
    known = read(recall_model, batch.before)
    pie = edited(recall_model, PIE(), known, batch.edit)
    stale = edited(recall_model, ConflictFastEncoding(), known, batch.edit)
    fresh = read(recall_model, pie.tokens_BT)
    for mine, scratch in zip(pie.layers[0], fresh.layers[0], strict=True):
        torch.testing.assert_close(mine, scratch, atol=1e-5, rtol=1e-5)
    behind = slice(batch.edit.start + batch.replacement.shape[1], None)
    for mine, other, scratch in zip(pie.layers, stale.layers, fresh.layers, strict=True):
        assert torch.equal(mine[1], other[1])
        alike, stale_alike = (
            functional.cosine_similarity(k[:, :, behind], scratch[0][:, :, behind], dim=-1).mean()
            for k in (mine[0], other[0])
        )
        assert alike > 0.75
        assert alike > stale_alike + 0.05


@every_method
def test_an_edit_of_nothing_changes_nothing(recall_model, before, method):
    known = read(recall_model, before)
    same = edited(recall_model, method, known, Edit(30, 0, before[:, :0]))
    for (keys, values), (old_keys, old_values) in zip(same.layers, known.layers, strict=True):
        torch.testing.assert_close(keys, old_keys, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(values, old_values, atol=1e-5, rtol=1e-5)


@every_method
def test_what_is_put_in_and_taken_out_again_leaves_the_cache_as_it_was(
    recall_model, before, method
):
    known = read(recall_model, before)
    longer = edited(recall_model, method, known, Edit(20, 0, some_tokens(15)))
    again = edited(recall_model, method, longer, Edit(20, 15, before[:, :0]))
    assert torch.equal(again.tokens_BT, before)
    for (keys, values), (old_keys, old_values) in zip(again.layers, known.layers, strict=True):
        torch.testing.assert_close(keys, old_keys, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(values, old_values, atol=1e-5, rtol=1e-5)


@every_method
def test_an_edit_leaves_the_known_cache_as_it_was(recall_model, before, method):
    known = read(recall_model, before)
    copies = [(keys.clone(), values.clone()) for keys, values in known.layers]
    for edit in (Edit(5, 3, some_tokens(7)), Edit(90, 6, before[:, :0]), Edit(0, 4, before[:, :0])):
        edited(recall_model, method, known, edit)
    for (keys, values), (old_keys, old_values) in zip(known.layers, copies, strict=True):
        assert torch.equal(keys, old_keys)
        assert torch.equal(values, old_values)


# Answers


@every_method
def test_an_edit_at_the_very_end_is_answered_like_the_prompt_read_whole(
    recall_model, before, question, method
):
    for edit in (
        Edit(96, 0, some_tokens(8)),
        Edit(90, 6, before[:, :0]),
        Edit(90, 6, before[:, 9:12]),
    ):
        whole = recall_model.continuation_logits(edit.applied(before), question)
        with editing(recall_model, method):
            logits = edited_logits(recall_model, before, edit, question)
        torch.testing.assert_close(logits, whole, atol=1e-4, rtol=1e-4)


def test_reusing_the_prefix_alone_is_lossless_wherever_the_edit_is(recall_model, before, question):
    for edit in (Edit(3, 0, some_tokens(8)), Edit(40, 20, before[:, :0])):
        for continuation in (question, question[:, :0]):
            whole = recall_model.continuation_logits(edit.applied(before), continuation)
            with editing(recall_model, PrefixReuse()):
                logits = edited_logits(recall_model, before, edit, continuation)
            torch.testing.assert_close(logits, whole, atol=1e-4, rtol=1e-4)


def test_after_a_deletion_pie_is_closer_to_the_prompt_read_whole_than_stale_positions(
    recall_model,
):
    batch = EditedRecall(num_examples=16, edit="delete", edit_length=128).batches()[0]
    case = (batch.before, batch.edit, batch.question)
    whole = recall_model.continuation_logits(batch.edit.applied(batch.before), batch.question)
    whole = whole[:, -1].log_softmax(-1)
    divergence = []
    for method in (PIE(), ConflictFastEncoding()):
        with editing(recall_model, method):
            logits = edited_logits(recall_model, *case)[:, -1].log_softmax(-1)
        divergence.append((whole.exp() * (whole - logits)).sum(-1).mean().item())
    assert divergence[0] < 0.5 * divergence[1]


@every_method
@pytest.mark.parametrize("edit", [Edit(10, 0, some_tokens(8)), Edit(10, 12, some_tokens(5))])
def test_a_batch_is_answered_like_its_examples(recall_model, before, question, method, edit):
    with editing(recall_model, method):
        together = edited_logits(recall_model, before, edit, question)
        for row in range(len(before)):
            one = slice(row, row + 1)
            single = Edit(edit.start, edit.length, edit.replacement_BR[one])
            alone = edited_logits(recall_model, before[one], single, question[one])
            torch.testing.assert_close(alone, together[one], atol=1e-4, rtol=1e-4)


def test_without_a_method_the_edited_prompt_is_read_whole(recall_model, before, question):
    edit = Edit(10, 5, some_tokens(8))
    expected = recall_model.generate(edit.applied(before), question, NEW)
    assert torch.equal(recall_model.edited_generate(before, edit, question, NEW), expected)
    with recall_model.uncompressed():
        assert torch.equal(recall_model.edited_generate(before, edit, question, NEW), expected)


# What is remembered


@every_method
def test_a_remembered_cache_spares_reading_and_changes_no_answer(
    recall_model, before, question, method
):
    edit = Edit(60, 0, some_tokens(8))
    read_tokens = []
    hook = recall_model.model.base_model.register_forward_pre_hook(
        lambda _, args: read_tokens.append(args[0].shape[1] if args else 0)
    )
    try:
        with editing(recall_model, method):
            expected = recall_model.edited_generate(before, edit, question, NEW)
            assert 96 in read_tokens
            with recall_model.remembering(before):
                read_tokens.clear()
                answer = recall_model.edited_generate(before, edit, question, NEW)
                assert max(read_tokens) == 8 + method.num_encoded(36)
                other = before.flip(0)
                read_tokens.clear()
                recall_model.edited_generate(other, edit, question, NEW)
                assert 96 in read_tokens
    finally:
        hook.remove()
    assert torch.equal(answer, expected)
    assert recall_model._known is None


def test_the_block_reports_what_the_edited_cache_holds(recall_model, before, question):
    edit = Edit(10, 4, some_tokens(8))
    with recall_model.uncompressed() as whole:
        recall_model.edited_generate(before, edit, question, NEW)
    with editing(recall_model, PIE()) as compression:
        recall_model.edited_generate(before, edit, question, NEW)
    assert compression.tokens_per_layer == whole.tokens_per_layer == [100] * 3
    assert compression.kv_bytes == whole.kv_bytes


# What is refused


@pytest.mark.parametrize("rope_type", ["dynamic", "longrope"])
def test_frequencies_that_follow_the_length_are_refused(rope_type):
    factors = {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
    extra = factors if rope_type == "longrope" else {}
    rope = {
        "rope_type": rope_type,
        "rope_theta": 10000.0,
        "factor": 2.0,
        "original_max_position_embeddings": 64,
        **extra,
    }
    backbone = tiny(rope)
    with pytest.raises(InfeasibleError, match=rope_type), editing(backbone, PIE()):
        pytest.fail("the block must not be entered")
    config = backbone.model.config.to_dict()
    assert rope_type in CausalLMBackbone.why_not(config, PIE())
    assert CausalLMBackbone.why_not(config, Stack(stages=({"method": "snapkv"},))) is None


def test_prompts_that_nobody_edits_are_no_success(recall_model, before, question):
    with (
        pytest.raises(VacuousCompressionError, match="1 of 1 prompts"),
        editing(recall_model, PIE()),
    ):
        recall_model.generate(before, question, 1)
    with (
        pytest.raises(VacuousCompressionError, match="0 of 0 prompts"),
        editing(recall_model, PIE()),
    ):
        pass


def test_an_edit_that_leaves_nothing_to_reuse_is_no_success(recall_model, before, question):
    def at_the_front():
        with editing(recall_model, PrefixReuse()):
            recall_model.edited_generate(before, Edit(1, 0, some_tokens(3)), question, 1)
            recall_model.edited_generate(before, Edit(0, 1, some_tokens(3)), question, 1)

    with pytest.raises(VacuousCompressionError, match="1 of 2 prompts"):
        at_the_front()


@pytest.mark.parametrize("other", ["snapkv", "gemfilter", "prompt-lookup", "quest"])
def test_what_needs_a_whole_prompt_is_refused_beside_an_edit(other):
    stack = Stack(stages=({"method": "pie"}, {"method": other}))
    with pytest.raises(InfeasibleError, match=f"{other} at .* read whole"):
        CausalLMBackbone.stages(stack, Uniform(), 0.5)


def test_an_edited_cache_can_be_held_in_few_bits(recall_model, before, question):
    edit = Edit(10, 0, some_tokens(8))
    kivi = {"method": "kivi", "params": {"bits": 8, "group_size": 8, "residual": 8}}
    with editing(recall_model, PIE()) as plain:
        logits = edited_logits(recall_model, before, edit, question)
    stack = Stack(stages=({"method": "pie"}, kivi))
    with recall_model.compressed(stack, Uniform(), 1.0, 0) as packed:
        inside = edited_logits(recall_model, before, edit, question)
    assert packed.kv_bytes < 0.6 * plain.kv_bytes
    assert 0 < (inside - logits).abs().mean() < 0.05 * logits.abs().mean()


@pytest.mark.parametrize(("start", "length"), [(-1, 0), (0, -1)])
def test_negative_edits_are_refused(start, length):
    with pytest.raises(ValueError, match="at least 0; got"):
        Edit(start, length, some_tokens(2))


def test_edits_beyond_the_prompt_are_refused(recall_model, before, question):
    with pytest.raises(ValueError, match="up to 97 does not fit 96 tokens"):
        recall_model.edited_generate(before, Edit(90, 7, some_tokens(2)), question, 1)
