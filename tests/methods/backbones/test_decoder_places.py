"""What attaches to a decoder besides its cache: formats, prompts, reading, drafts, stacks."""

import pytest
import torch

from methods.attention.oracle_topk import OracleTopK
from methods.attention.sink_window import SinkWindow
from methods.attention.tidaldecode import TidalDecode
from methods.backbones.base import weight_bytes
from methods.base import InfeasibleError
from methods.composition.pairing import Pairing
from methods.composition.stack import Stack
from methods.controls.average_pooling import AveragePooling
from methods.controls.identity import Identity
from methods.decoding.prompt_lookup import PromptLookup
from methods.kv.snapkv import SnapKV
from methods.prompt.gemfilter import GemFilter
from methods.prompt.selective_context import SelectiveContext
from methods.schedule import Pyramid, Uniform, num_held
from methods.storage.kivi import KIVI
from methods.weights.torchao_int4 import TorchaoInt4
from methods.weights.torchao_int8 import TorchaoInt8
from sweeps.data import contexts

NEW = 6
EMPTY = torch.empty(4, 0, dtype=torch.long)


@pytest.fixture(scope="module")
def prompt():
    """Real test contexts of the recall task, with their questions."""
    drawn = contexts.stream("test", 4, 128, 8)
    return torch.cat([torch.from_numpy(drawn.context), torch.from_numpy(drawn.question)], dim=1)


def alone(method, at):
    return Stack(stages=({"method": method.id(), "params": method.model_dump(), "at": at},))


def compressed(backbone, method, keep_ratio=None, schedule=None):
    ratio = keep_ratio or method.fixed_ratio
    return backbone.compressed(method, schedule or Uniform(), ratio, 0)


# Weights


@pytest.mark.parametrize("method", [TorchaoInt8(), TorchaoInt4()], ids=lambda method: method.id())
def test_weights_take_fewer_bytes_inside_the_block_and_are_the_same_objects_after(
    recall_model, prompt, method
):
    before = dict(recall_model.model.named_parameters())
    whole = recall_model.continuation_logits(prompt, EMPTY)
    with compressed(recall_model, method) as compression:
        assert compression.weight_bytes == weight_bytes(recall_model.model)
        assert compression.weight_bytes < 0.5 * sum(p.nbytes for p in before.values())
        inside = recall_model.continuation_logits(prompt, EMPTY)
    after = dict(recall_model.model.named_parameters())
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] for name in before)
    assert torch.equal(recall_model.continuation_logits(prompt, EMPTY), whole)
    assert not torch.equal(inside, whole)
    assert (inside - whole).abs().mean() < 0.2 * whole.abs().mean()


def test_int4_refuses_a_model_that_its_groups_do_not_fit(recall_model):
    with (
        pytest.raises(InfeasibleError, match="groups of 256"),
        compressed(recall_model, TorchaoInt4(group_size=256)),
    ):
        pytest.fail("the block must not be entered")


# Storage


def test_quantised_entries_take_fewer_bytes_and_8_bits_hardly_change_an_answer(
    recall_model, prompt
):
    whole = recall_model.continuation_logits(prompt, EMPTY)
    sizes = {}
    for bits in (8, 2):
        with compressed(recall_model, KIVI(bits=bits)) as compression:
            inside = recall_model.continuation_logits(prompt, EMPTY)
        sizes[bits] = compression.kv_bytes
        error = (inside - whole).abs().mean() / whole.abs().mean()
        assert 0 < error < {8: 0.02, 2: 1.0}[bits]
    with recall_model.uncompressed() as compression:
        recall_model.continuation_logits(prompt, EMPTY)
    assert sizes[2] < sizes[8] < 0.6 * compression.kv_bytes


def test_a_prompt_too_short_to_quantise_is_impossible(recall_model, prompt):
    with (
        pytest.raises(InfeasibleError, match="residual 4096"),
        compressed(recall_model, KIVI(residual=4096)),
    ):
        recall_model.generate(prompt, EMPTY, 1)


# Attention


def test_a_step_that_reads_sinks_and_window_sees_nothing_else(recall_model, prompt):
    num_read = num_held(0.25, prompt.shape[1])
    with compressed(recall_model, SinkWindow(num_sinks=4), 0.25) as compression:
        inside = recall_model.continuation_logits(prompt, EMPTY)
    visible = torch.zeros(prompt.shape[1], dtype=torch.bool)
    visible[:4] = visible[-(num_read - 4) :] = True
    mask = torch.ones(2 * prompt.shape[1:], dtype=torch.bool).tril()
    mask[-1] = visible
    expected = recall_model.model(prompt, attention_mask=mask[None, None].expand(4, -1, -1, -1))
    torch.testing.assert_close(inside[:, 0], expected.logits[:, -1], atol=1e-4, rtol=1e-4)
    assert compression.attended / compression.visible == pytest.approx(0.25, abs=0.01)


def test_reading_what_is_attended_to_most_keeps_the_answers(recall_model, prompt):
    answers = recall_model.generate(prompt, EMPTY, 3)
    with compressed(recall_model, OracleTopK(), 0.25) as compression:
        assert torch.equal(recall_model.generate(prompt, EMPTY, 3), answers)
    assert compression.attended / compression.visible == pytest.approx(0.75, abs=0.01)


def test_a_later_question_is_decoded_token_by_token(recall_model, prompt):
    context, question = prompt[:, :-2], prompt[:, -2:]
    with compressed(recall_model, OracleTopK(), 0.5) as compression:
        logits = recall_model.continuation_logits(context, question)
    assert logits.shape[1] == 2
    layers, heads = recall_model.num_layers, recall_model.model.config.num_key_value_heads
    entries = sum(context.shape[1] + step for step in (1, 2))
    assert compression.visible == 4 * layers * heads * entries


@pytest.mark.parametrize("keep_ratio", [0.3, 0.7])
def test_positions_persist_under_budgets_that_differ_from_layer_to_layer(
    recall_model, prompt, keep_ratio
):
    num_layers, pyramid = recall_model.num_layers, Pyramid(beta=4)
    method = TidalDecode(select=0, reselect=None)
    with compressed(recall_model, method, keep_ratio, pyramid) as compression:
        recall_model.generate(prompt, EMPTY, 1)
    held = pyramid.held(keep_ratio, num_layers)
    read = [num_held(fraction, prompt.shape[1]) for fraction in held[1:]]
    assert len(set(read)) == len(read)
    expected = (prompt.shape[1] + sum(read)) / (num_layers * prompt.shape[1])
    assert compression.attended / compression.visible == pytest.approx(expected)


# Prompt


@pytest.mark.parametrize(
    "method", [GemFilter(layer=1), SelectiveContext()], ids=lambda method: method.id()
)
def test_the_model_reads_the_kept_tokens_as_a_prompt_of_their_own(recall_model, prompt, method):
    with compressed(recall_model, method, 0.5) as compression:
        inside = recall_model.continuation_logits(prompt, EMPTY)
    kept_BK = compression.transforms["prompt"][0].cols
    shorter = torch.cat([prompt.gather(1, kept_BK), prompt[:, -1:]], dim=1)
    assert kept_BK.shape[1] == num_held(0.5, prompt.shape[1] - 1)
    assert torch.equal(inside, recall_model.continuation_logits(shorter, EMPTY))
    assert compression.tokens_per_layer == [kept_BK.shape[1]] * recall_model.num_layers


def test_words_cannot_be_mixed(recall_model, prompt):
    with (
        pytest.raises(InfeasibleError, match="average-pooling mixes tokens"),
        compressed(recall_model, alone(AveragePooling(), "prompt"), 0.5),
    ):
        recall_model.generate(prompt, EMPTY, 1)


def test_a_filter_layer_that_is_not_there_is_named(recall_model, prompt):
    with (
        pytest.raises(InfeasibleError, match="layer 13 does not exist: the model has 3 layers"),
        compressed(recall_model, GemFilter(), 0.5),
    ):
        recall_model.generate(prompt, EMPTY, 1)


# Decoding


@pytest.mark.parametrize("num_draft", [1, 3, 10])
@pytest.mark.parametrize("later", [False, True], ids=["known", "unknown"])
def test_drafts_change_no_answer_and_save_steps(recall_model, prompt, num_draft, later):
    parts = (prompt[:, :-2], prompt[:, -2:]) if later else (prompt, EMPTY)
    answers = recall_model.generate(*parts, NEW)
    with compressed(recall_model, PromptLookup(num_draft=num_draft)) as compression:
        assert torch.equal(recall_model.generate(*parts, NEW), answers)
    assert compression.new_tokens == 4 * NEW
    assert compression.steps < 4 * NEW


def test_drafts_on_a_cut_cache_answer_what_the_cut_cache_answers(recall_model, prompt):
    with compressed(recall_model, SnapKV(), 0.25):
        answers = recall_model.generate(prompt, EMPTY, NEW)
    stack = Stack(stages=({"method": "snapkv"}, {"method": "prompt-lookup"}))
    with compressed(recall_model, stack, 0.25):
        assert torch.equal(recall_model.generate(prompt, EMPTY, NEW), answers)


# Stacks


def test_savings_of_a_stack_add_up(recall_model, prompt):
    stack = Stack(
        stages=(
            {"method": "selective-context", "keep": 0.75},
            {"method": "snapkv"},
            {"method": "kivi", "params": {"bits": 4, "group_size": 16, "residual": 8}},
            {"method": "torchao-int8"},
            {"method": "prompt-lookup"},
        )
    )
    with recall_model.uncompressed() as whole:
        recall_model.generate(prompt, EMPTY, NEW)
    with compressed(recall_model, stack, 0.5) as compression:
        recall_model.generate(prompt, EMPTY, NEW)
    assert compression.tokens_per_layer[0] == pytest.approx(prompt.shape[1] * 0.75 * 0.5, abs=2)
    assert compression.kv_bytes < 0.5 * 0.75 * whole.kv_bytes
    assert compression.weight_bytes < 0.5 * whole.weight_bytes
    assert compression.steps / compression.new_tokens < 1


def test_two_methods_at_one_place_are_refused(recall_model):
    stack = Stack(stages=({"method": "snapkv"}, {"method": "h2o"}))
    with pytest.raises(InfeasibleError, match="cannot share a place: kv, kv"):
        recall_model.stages(stack, Uniform(), 0.5)


@pytest.mark.parametrize("beside", ["sink-window", "oracle-topk", "kivi"])
def test_heads_of_different_length_are_refused_where_all_must_hold_the_same(recall_model, beside):
    stack = Stack(stages=({"method": "adakv", "keep": 0.5}, {"method": beside}))
    with (
        pytest.raises(InfeasibleError, match=f"adakv leaves every head its own.*{beside} needs"),
        compressed(recall_model, stack, 0.5),
    ):
        pytest.fail("the block must not be entered")


@pytest.mark.parametrize("method", ["pyramidkv", "snapkv"])
def test_positions_do_not_persist_over_layers_that_hold_entries_of_their_own(recall_model, method):
    tidal = {"method": "tidaldecode", "params": {"select": 0}}
    with (
        pytest.raises(InfeasibleError, match=f"{method} leaves every layer entries of its own"),
        compressed(recall_model, Stack(stages=({"method": method}, tidal)), 0.5),
    ):
        pytest.fail("the block must not be entered")


def test_readers_that_choose_in_every_layer_work_on_caches_that_were_cut(recall_model, prompt):
    stages = ({"method": "pyramidkv", "schedule": Pyramid()}, {"method": "sink-window"})
    with compressed(recall_model, Stack(stages=stages), 0.5) as compression:
        recall_model.generate(prompt, EMPTY, 2)
    assert compression.attended / compression.visible == pytest.approx(0.5, abs=0.02)


def test_a_stack_in_a_stack_is_refused():
    with pytest.raises(ValueError, match="a stack cannot stand in a stack"):
        Stack(stages=({"method": "stack"}, {"method": "h2o"}))


def test_a_stack_whose_stages_do_nothing_is_the_baseline():
    assert Stack(stages=({"method": "snapkv"},)).changes_nothing(1.0)
    assert not Stack(stages=({"method": "snapkv"}, {"method": "kivi"})).changes_nothing(1.0)
    assert not Stack(stages=({"method": "snapkv", "keep": 0.5},)).changes_nothing(1.0)


def test_a_pairing_keeps_what_the_score_keeps_and_merges_the_rest(recall_model, prompt):
    with compressed(recall_model, SnapKV(), 0.25) as pruned:
        recall_model.generate(prompt, EMPTY, 1)
    with compressed(recall_model, Pairing(score="snapkv"), 0.25) as merged:
        recall_model.generate(prompt, EMPTY, 1)
    w, kept_BK = merged.transforms["kv"][0].dense(), pruned.transforms["kv"][0].cols
    own_BK = w.gather(2, kept_BK[..., None])[..., 0]
    assert (own_BK > 0).all(), "a kept token is part of its own row"
    torch.testing.assert_close((w > 0).sum(1), torch.ones_like(w[:, 0], dtype=torch.long))


def test_pairings_attach_where_their_score_does(recall_model):
    assert Pairing(score="attention-topk").attaches_to() == ("vision",)
    with pytest.raises(InfeasibleError, match="pairing attaches to vision"):
        recall_model.stages(Pairing(score="attention-topk"), Uniform(), 0.5)
    with pytest.raises(ValueError, match="unknown scoring method 'tome'"):
        Pairing(score="tome")


def test_identity_keeps_the_record_of_places_that_nothing_attaches_to(recall_model, prompt):
    places = [stage.place for stage in recall_model.stages(TorchaoInt8(), Uniform(), 1.0)]
    assert places == ["weights", "kv"]
    assert recall_model.stages(Identity(), Uniform(), 1.0)[0].place == "kv"
