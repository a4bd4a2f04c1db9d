from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from methods.controls.average_pooling import AveragePooling
from methods.controls.random import Random
from methods.controls.uniform import Uniform as Stride
from methods.deferred import Deferred
from methods.registry import entries, entry
from methods.schedule import OneLayer, Progressive, Uniform, num_held
from tests.methods.backbones.llava_models import (
    BATCH,
    EMPTY,
    HEAD_DIM,
    IMAGE,
    KV_HEADS,
    LAYOUTS,
    NUM_LAYERS,
    ONE,
    QUERY_HEADS,
    REST,
    SCHEDULES,
    THREE,
    MergedByPairs,
    P,
    Scattered,
    inputs,
    spy_on,
    text,
)


@LAYOUTS
@torch.no_grad()
def test_pruning_at_the_doorstep_is_the_library_fed_with_the_kept_tokens(llava, plain, layout):
    pixels, _, prompt = inputs(layout)
    with llava.compressed(Scattered(), Uniform(), 0.3, 0) as compression:
        logits = llava.continuation_logits(pixels, layout, prompt, REST)
    kept = compression.transforms["vlm"][0].cols
    ids = torch.cat([prompt, REST], 1)
    images = plain.get_image_features(pixels.flatten(0, 1)).pooler_output
    features = torch.cat(list(images)).view(BATCH, layout.num_tokens, -1)
    for example in range(BATCH):
        is_visual = ids[example] == IMAGE
        embeddings = plain.get_input_embeddings()(ids[example])
        embeddings[is_visual] = features[example]
        left = ~is_visual
        left[is_visual.nonzero()[kept[example], 0]] = True
        expected = plain(
            inputs_embeds=embeddings[left][None],
            position_ids=left.nonzero().T,
            attention_mask=torch.ones(1, int(left.sum()), dtype=torch.long),
        ).logits[:, -REST.shape[1] :]
        torch.testing.assert_close(logits[example : example + 1], expected, atol=1e-5, rtol=1e-5)


@SCHEDULES
def test_later_turns_read_the_same_compressed_state(llava, schedule):
    example = inputs(THREE)
    with llava.compressed(Scattered(), schedule, 0.3, 0):
        turns = llava.answer(*example, [REST, REST + 1], 3)
        for turn, question in enumerate((REST, REST + 1)):
            asked = torch.cat([example[2], *woven(turns, turn), question], 1)
            alone = llava.answer(example[0], THREE, asked, [], 3)
            assert torch.equal(turns[:, turn + 1], alone[:, 0])


def woven(turns, last):
    """The dialogue up to the answer of turn ``last``."""
    questions = [EMPTY, REST, REST + 1]
    return [part for turn in range(last + 1) for part in (questions[turn], turns[:, turn])]


@LAYOUTS
def test_a_batch_gives_what_its_examples_give_alone(llava, layout):
    pixels, _, prompt = inputs(layout, batch=4)
    for method in (Stride(), AveragePooling()):
        with llava.compressed(method, Progressive(), 0.3, 0):
            together = llava.continuation_logits(pixels, layout, prompt, text(3, 2, 4))
            alone = [
                llava.continuation_logits(
                    pixels[i : i + 1], layout, prompt[i : i + 1], text(3, 2, 4)[i : i + 1]
                )
                for i in range(4)
            ]
        torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)


def test_layers_are_counted_from_the_doorstep(llava):
    contexts = []
    with llava.compressed(spy_on(contexts), Progressive(last=-1), 0.1, 0) as compression:
        llava.answer(*inputs(THREE), [], 1)
    assert [ctx.layer for ctx in contexts] == list(range(NUM_LAYERS))
    assert {ctx.num_layers for ctx in contexts} == {NUM_LAYERS}
    held = [num_held(f, 3 * P) for f in Progressive(last=-1).held(0.1, NUM_LAYERS)]
    assert [ctx.num_keep for ctx in contexts] == held
    assert [ctx.num_in for ctx in contexts] == [3 * P, *held[:-1]]
    assert list(compression.transforms["vlm"]) == list(range(NUM_LAYERS))


@torch.no_grad()
def test_the_doorstep_shows_projected_features_and_the_text(llava, plain):
    contexts = []
    pixels, layout, prompt = inputs(THREE)
    with llava.compressed(spy_on(contexts), Uniform(), 0.5, 0):
        llava.answer(pixels, layout, prompt, [], 1)
    (ctx,) = contexts
    features = torch.cat(list(plain.get_image_features(pixels.flatten(0, 1)).pooler_output))
    assert torch.equal(ctx.hidden_BND, features.view(BATCH, 3 * P, -1))
    words = prompt[prompt != IMAGE].view(BATCH, -1)
    assert torch.equal(ctx.text_BQD, plain.get_input_embeddings()(words))
    assert ctx.question_Q.tolist() == [False] * 8 + [True] * 7
    assert torch.equal(ctx.origin_BN, torch.arange(3 * P).expand(BATCH, -1))
    assert ctx.layout is layout
    assert ctx.attention_BHTN is ctx.visual_T is ctx.keys_BHND is None


@LAYOUTS
@torch.no_grad()
def test_inside_the_previous_layers_attention_is_what_the_library_reports(llava, eager, layout):
    contexts = []
    pixels, _, prompt = inputs(layout)
    with llava.compressed(spy_on(contexts), OneLayer(layer=2), 0.5, 0):
        llava.answer(pixels, layout, prompt, [], 1)
    (ctx,) = contexts
    reported = eager(
        input_ids=prompt,
        pixel_values=pixels.flatten(0, 1),
        output_attentions=True,
        output_hidden_states=True,
    )
    is_visual = prompt[0] == IMAGE
    order = torch.cat([is_visual.nonzero()[:, 0], (~is_visual).nonzero()[:, 0]])
    attention = reported.attentions[1][:, :, order][..., is_visual]
    torch.testing.assert_close(ctx.attention_BHTN, attention, atol=1e-5, rtol=1e-5)
    from_text = attention[:, :, ctx.num_in :]
    torch.testing.assert_close(ctx.text_attention_BHQN, from_text, atol=1e-5, rtol=1e-5)
    assert ctx.visual_T.tolist() == is_visual[order].tolist()
    keys = reported.past_key_values.layers[1].keys[:, :, is_visual]
    torch.testing.assert_close(ctx.keys_BHND, keys, atol=1e-5, rtol=1e-5)
    hidden = reported.hidden_states[2]
    torch.testing.assert_close(ctx.hidden_BND, hidden[:, is_visual], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ctx.text_BQD, hidden[:, ~is_visual], atol=1e-4, rtol=1e-4)


def test_after_a_cut_attention_columns_are_the_kept_tokens(llava):
    contexts = []

    class Watched(Scattered):
        def transform(self, ctx):
            contexts.append(ctx)
            return super().transform(ctx)

    with llava.compressed(Watched(), Progressive(last=-1), 0.2, 0):
        llava.answer(*inputs(THREE), [], 1)
    for ctx in contexts[1:]:
        num_rows = ctx.num_in + ctx.text_BQD.shape[1]
        assert ctx.attention_BHTN.shape == (BATCH, QUERY_HEADS, num_rows, ctx.num_in)
        assert ctx.keys_BHND.shape == (BATCH, KV_HEADS, ctx.num_in, HEAD_DIM)
        among_visual = ctx.attention_BHTN[:, :, ctx.visual_T]
        assert (among_visual.triu(1) == 0).all()
        assert (among_visual.diagonal(dim1=-2, dim2=-1) > 0).all()
        assert (ctx.attention_BHTN[:, :, -1] > 0).all()
    assert not torch.equal(contexts[-1].origin_BN[0], contexts[-1].origin_BN[1])


def test_a_method_pays_only_for_what_it_reads(llava):
    contexts = []
    with llava.compressed(spy_on(contexts), OneLayer(layer=1), 0.5, 0):
        llava.answer(*inputs(ONE), [], 1)
    for name in ("attention_BHTN", "text_attention_BHQN", "keys_BHND"):
        waiting = vars(contexts[0])[name]
        assert isinstance(waiting, Deferred)
        assert "value" not in vars(waiting)


def test_merged_tokens_stand_where_their_heaviest_part_stood(llava):
    contexts = []

    class Watched(MergedByPairs):
        def transform(self, ctx):
            contexts.append(ctx)
            return super().transform(ctx)

    with llava.compressed(Watched(), Progressive(last=-1), 0.2, 0) as compression:
        llava.answer(*inputs(THREE), [], 1)
    for before, after in pairwise(contexts):
        dense = compression.transforms["vlm"][before.layer].dense()
        heaviest = before.origin_BN.gather(1, dense.argmax(-1))
        assert torch.equal(after.origin_BN, heaviest)
        assert (after.origin_BN.diff() > 0).all()
        torch.testing.assert_close(after.sizes_BN.sum(1), torch.full((BATCH,), 3.0 * P))


@torch.no_grad()
def test_the_recorded_w_gives_the_tokens_that_the_first_layer_reads(llava):
    contexts, read = [], []

    class Lengthened(MergedByPairs):
        def transform(self, ctx):
            contexts.append(ctx)
            merged = super().transform(ctx)
            draw = torch.Generator().manual_seed(1)
            return replace(merged, gains=torch.rand(ctx.batch, ctx.num_keep, generator=draw) + 0.5)

    def note(_module, _args, kwargs):
        read.append(kwargs["inputs_embeds"])

    decoder = llava.model.model.language_model
    handle = decoder.register_forward_pre_hook(note, with_kwargs=True)
    with llava.compressed(Lengthened(), Uniform(), 0.5, 0) as compression:
        llava.answer(*inputs(ONE), [], 1)
    handle.remove()
    recorded = compression.transforms["vlm"][0]
    num_words_before = 2
    visual_BKD = read[0][:, num_words_before : num_words_before + P // 2]
    assert not (recorded.rows.diff() > 0).all(), "rows were put into another order"
    torch.testing.assert_close(recorded(contexts[0].hidden_BND), visual_BKD)


def test_memory_lives_for_one_prompt(llava):
    seen = []

    class Remembers(Scattered):
        def transform(self, ctx):
            ctx.memory[ctx.layer] = True
            seen.append(sorted(ctx.memory))
            return super().transform(ctx)

    with llava.compressed(Remembers(), Progressive(), 0.2, 0):
        for _ in range(2):
            llava.answer(*inputs(ONE), [], 1)
    assert seen == [[0], [0, 1], [0, 1, 2]] * 2


@LAYOUTS
@SCHEDULES
@pytest.mark.parametrize("keep_ratio", [0.01, 0.3])
def test_layers_before_a_cut_hold_all_and_later_ones_fewer(llava, layout, schedule, keep_ratio):
    example = inputs(layout)
    num_words = example[2].shape[1] - layout.num_tokens - 1
    held = [num_held(f, layout.num_tokens) for f in schedule.held(keep_ratio, NUM_LAYERS)]
    with llava.compressed(Random(), schedule, keep_ratio, 0) as compression:
        llava.answer(*example, [REST], 3)
    assert compression.tokens_per_layer == [num_words + num for num in held]
    per_token = 2 * KV_HEADS * HEAD_DIM * 4
    assert compression.kv_bytes == sum(compression.tokens_per_layer) * per_token
    assert compression.seconds > 0
    assert compression.reads > 0


VISUAL = [
    found.id
    for found in entries().values()
    if "vlm" in found.places and found.stands_alone and found.id != "identity"
]


@pytest.mark.parametrize("method_id", VISUAL)
def test_every_method_keeps_its_budget_inside_the_language_model(llava, method_id):
    example = inputs(THREE)
    num_words = example[2].shape[1] - THREE.num_tokens - 1
    with llava.compressed(entry(method_id).method(), OneLayer(layer=2), 0.25, 0) as compression:
        assert llava.answer(*example, [REST], 2).shape == (BATCH, 2, 2)
    held = [THREE.num_tokens] * 2 + [THREE.num_tokens // 4] * 2
    assert compression.tokens_per_layer == [num_words + num for num in held]
