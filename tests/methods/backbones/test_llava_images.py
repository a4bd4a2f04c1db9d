from typing import ClassVar

import pytest
import torch

from methods.base import InfeasibleError, TokenMethod
from methods.contexts import VisionContext, VisualContext
from methods.schedule import OneLayer, Progressive, Uniform, num_held
from methods.transform import TokenTransform
from tests.methods.backbones.llava_models import (
    BATCH,
    NUM_LAYERS,
    REST,
    THREE,
    TOWER_HEADS,
    TOWER_LAYERS,
    P,
    inputs,
    reference_logits,
    spy_on,
    stack,
)


def whole(layers):
    return torch.stack([layers[index] for index in range(len(layers))])


@torch.no_grad()
def test_the_towers_view_is_what_the_library_reports(llava, eager):
    contexts = []
    pixels, layout, prompt = inputs(THREE)
    with llava.compressed(spy_on(contexts), Uniform(), 0.5, 0):
        llava.answer(pixels, layout, prompt, [], 1)
    tower = contexts[0].tower
    reported = eager.model.vision_tower(
        pixels.flatten(0, 1), output_attentions=True, output_hidden_states=True
    )
    layers = zip(eager.model.vision_tower.encoder.layers, reported.hidden_states, strict=False)
    keys = [layer.self_attn.k_proj(layer.layer_norm1(hidden)) for layer, hidden in layers]
    attention = torch.stack(reported.attentions).unflatten(1, (BATCH, 3))
    torch.testing.assert_close(whole(tower.cls_attention_LBIHP), attention[:, :, :, :, 0, 1:])
    received = attention[..., 1:, 1:].sum(-2).mean(3)
    torch.testing.assert_close(whole(tower.received_LBIP), received)
    keys = torch.stack(keys)[:, :, 1:].view(TOWER_LAYERS, BATCH, 3, P, TOWER_HEADS, -1)
    torch.testing.assert_close(whole(tower.keys_LBIHPD), keys.transpose(3, 4))
    assert tower.selected == TOWER_LAYERS - 2
    selected = reported.hidden_states[-2][:, 1:].view(BATCH, 3, P, -1)
    torch.testing.assert_close(tower.hidden_BIPD, selected)
    assert torch.equal(tower.pixels_BICHW, pixels)


class ReadsTheProjectedLayer(TokenMethod[VisualContext]):
    """Also asks for a layer that it does not declare."""

    needs_tower: ClassVar[bool] = True

    def transform(self, ctx):
        received_BIP = ctx.tower.received_LBIP[ctx.tower.selected]
        with pytest.raises(AssertionError, match="tower layer 0 is not among"):
            ctx.tower.received_LBIP[0]
        kept_BK = received_BIP.flatten(1).topk(ctx.num_keep).indices.sort().values
        return TokenTransform.keep(kept_BK, ctx.num_in)


def test_only_the_layers_that_a_method_declares_are_kept(llava):
    pixels, layout, prompt = inputs(THREE)
    with llava.compressed(ReadsTheProjectedLayer(), Uniform(), 0.5, 0) as compression:
        llava.answer(pixels, layout, prompt, [], 1)
    assert compression.transforms["vlm"]


class PrunesPatches(TokenMethod[VisionContext]):
    """Keeps other patches in every image."""

    def transform(self, ctx):
        draw = torch.Generator().manual_seed(ctx.layer)
        scores = torch.rand(ctx.batch, ctx.num_in, generator=draw)
        return TokenTransform.keep(scores.topk(ctx.num_keep).indices.sort().values, ctx.num_in)


LAST = TOWER_LAYERS - 2
"""The tower layer whose output is projected; after its attention patches do not mix any more."""


def by_example(cuts):
    """Indices of kept patches among all visual tokens of an example, cut after cut."""
    kept = torch.arange(P).expand(cuts[0].batch, -1)
    for cut in cuts:
        kept = kept.gather(1, cut.cols)
    offsets = P * torch.arange(3)[:, None]
    return (kept.view(BATCH, 3, -1) + offsets).flatten(1)


@torch.no_grad()
def test_patches_pruned_where_they_mix_no_more_are_visual_tokens_pruned(llava, plain):
    pixels, layout, prompt = inputs(THREE)
    with llava.compressed(PrunesPatches(), OneLayer(layer=LAST), 0.3, 0) as compression:
        logits = llava.continuation_logits(pixels, layout, prompt, REST)
    num_words = prompt.shape[1] - layout.num_tokens
    assert compression.tokens_per_layer == [num_words + 3 * num_held(0.3, P)] * NUM_LAYERS
    kept = by_example([compression.transforms["vision"][LAST]])
    same = {"vlm": {0: TokenTransform.keep(kept, layout.num_tokens)}, "kv": {}}
    expected = reference_logits(plain, pixels, prompt, REST, same)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def vision_then(contexts, monkeypatch):
    """A stack of patch pruning in every tower layer and a spy at the doorstep."""
    spy, pruner = spy_on(contexts), PrunesPatches()
    method = stack(("random", {"at": "vision", "keep": 0.3}), ("random", {"at": "vlm"}))
    monkeypatch.setitem(vars(method), "components", (pruner, spy))
    return method


def test_visual_tokens_of_a_reduced_tower_know_where_they_come_from(llava, monkeypatch):
    contexts = []
    method = vision_then(contexts, monkeypatch)
    with llava.compressed(method, Uniform(), 0.5, 0) as compression:
        llava.answer(*inputs(THREE), [REST], 2)
    (ctx,) = contexts
    cuts = [compression.transforms["vision"][0]]
    kept = by_example(cuts)
    assert torch.equal(ctx.origin_BN, kept)
    assert ctx.num_in == 3 * num_held(0.3, P)
    assert ctx.num_keep == num_held(0.5, ctx.num_in)
    others = torch.ones(BATCH, 3 * P, dtype=torch.bool).scatter(1, kept, False)
    attention = ctx.tower.cls_attention_LBIHP[LAST].transpose(2, 3).flatten(1, 2)
    assert (attention[~others] > 0).all()
    assert (attention[others] == 0).all()
    assert (ctx.tower.cls_attention_LBIHP[0] > 0).all()
    assert ctx.tower.hidden_BIPD.shape[:3] == (BATCH, 3, P)
    assert (ctx.tower.hidden_BIPD.flatten(1, 2)[others] == 0).all()
    for layer in range(TOWER_LAYERS):
        assert ctx.tower.received_LBIP[layer].shape == (BATCH, 3, P)
        assert ctx.tower.keys_LBIHPD[layer].shape[2:] == (TOWER_HEADS, P, 8)


@torch.no_grad()
def test_all_three_places_work_at_once(llava, plain):
    pixels, layout, prompt = inputs(THREE)
    last = OneLayer(layer=LAST)
    method = stack(
        ("random", {"at": "vision", "keep": 0.5, "schedule": last}),
        ("random", {"at": "vlm", "keep": 0.5, "schedule": Progressive()}),
        ("knorm", {"keep": 0.5, "schedule": Uniform()}),
    )
    with llava.compressed(method, Uniform(), 0.5, 0) as compression:
        logits = llava.continuation_logits(pixels, layout, prompt, REST)
    num_words = prompt.shape[1] - layout.num_tokens
    left = [num_held(share, 24) for share in Progressive().held(0.5, NUM_LAYERS)]
    assert compression.tokens_per_layer == [num_held(0.5, num_words + num) for num in left]
    kept = by_example([compression.transforms["vision"][LAST]])
    first = compression.transforms["vlm"][0]
    both = TokenTransform.keep(kept.gather(1, first.cols), layout.num_tokens)
    same = {
        "vlm": {**compression.transforms["vlm"], 0: both},
        "kv": compression.transforms["kv"],
    }
    expected = reference_logits(plain, pixels, prompt, REST, same)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_several_cuts_in_the_tower_are_followed_to_the_end(llava, monkeypatch):
    contexts = []
    method = vision_then(contexts, monkeypatch)
    stages = [stage.model_copy(update={"schedule": Progressive()}) for stage in method.stages]
    monkeypatch.setitem(vars(method), "stages", tuple(stages))
    with llava.compressed(method, Uniform(), 0.5, 0) as compression:
        llava.answer(*inputs(THREE), [], 1)
    cuts = [compression.transforms["vision"][layer] for layer in range(LAST + 1)]
    assert torch.equal(contexts[0].origin_BN, by_example(cuts))


def test_a_projector_that_reads_several_layers_needs_a_whole_tower(llava, monkeypatch):
    monkeypatch.setattr(llava.model.config, "vision_feature_layer", [-3, -2])
    with (
        pytest.raises(InfeasibleError, match="several layers"),
        llava.compressed(PrunesPatches(), Uniform(), 0.5, 0),
    ):
        pass
