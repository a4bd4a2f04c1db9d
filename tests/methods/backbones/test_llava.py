import pytest
import torch
from transformers import AutoConfig

from methods.backbones.base import VacuousCompressionError
from methods.backbones.causal_lm import CausalLMBackbone
from methods.backbones.llava import LlavaBackbone
from methods.base import InfeasibleError, Method
from methods.contexts import CacheContext, VisualLayout
from methods.controls.identity import Identity
from methods.controls.random import Random
from methods.schedule import OneLayer, Progressive, Uniform
from tests.methods.backbones.llava_models import (
    BATCH,
    NUM_LAYERS,
    ONE,
    REST,
    THREE,
    config_of,
    inputs,
    spy_on,
    stack,
)


def test_bytes_held_follow_from_the_config(llava):
    example = inputs(ONE)
    per_token = LlavaBackbone.kv_bytes_per_token(llava.model.config.to_dict(), "float32")
    with llava.compressed(Identity(), Uniform(), 1.0, 0) as compression:
        llava.answer(*example, [], 1)
    assert compression.kv_bytes == per_token * (example[2].shape[1] - 1)


def test_a_cache_method_alone_leaves_visual_tokens_alone(llava):
    contexts = []
    example = inputs(ONE)
    with llava.compressed(spy_on(contexts, CacheContext), Uniform(), 0.5, 0) as compression:
        llava.answer(*example, [], 1)
    assert [ctx.num_in for ctx in contexts] == [example[2].shape[1] - 1] * NUM_LAYERS
    assert compression.transforms["vlm"] == {}


def test_a_cache_method_that_knows_the_future_rehearses_the_same_visual_tokens(llava):
    example = inputs(THREE)

    def kept(method):
        with llava.compressed(method, Progressive(), 0.3, 5) as compression:
            answers = [llava.answer(*example, [REST], 2) for _ in range(2)]
        return answers[-1].shape, compression.transforms["vlm"][0].cols

    shape, alone = kept(Random())
    assert shape == (BATCH, 2, 2)
    method = stack(("random", {"at": "vlm"}), ("oracle", {"keep": 0.5}))
    assert torch.equal(kept(method)[1], alone)


def test_a_cache_stage_that_keeps_all_adds_nothing(llava):
    example = inputs(THREE)
    with llava.compressed(Random(), Progressive(), 0.3, 5):
        alone = llava.continuation_logits(*example, REST)
    with llava.compressed(
        stack(("random", {"at": "vlm"}), ("knorm", {"keep": 1.0})), Progressive(), 0.3, 5
    ):
        assert torch.equal(llava.continuation_logits(*example, REST), alone)


def test_draws_repeat_between_blocks_and_differ_within_one(llava):
    def kept(seed):
        found = []
        with llava.compressed(Random(), Uniform(), 0.5, seed) as compression:
            for _ in range(2):
                llava.answer(*inputs(THREE), [], 1)
                found.append(compression.transforms["vlm"][0].cols)
        return found

    first, second = kept(0)
    assert not torch.equal(first, second)
    assert not torch.equal(first, kept(1)[0])
    assert all(map(torch.equal, (first, second), kept(0)))


def ask_past_the_backbone(llava):
    pixels, _, prompt = inputs(ONE)
    llava.model(input_ids=prompt, pixel_values=pixels.flatten(0, 1))


def skip_the_cut(llava):
    """A decoder whose layers are run by somebody else."""
    layers = llava.model.model.language_model.layers
    forwards = [layer.forward for layer in layers]
    for layer in layers:
        layer._forward_pre_hooks.clear()
    try:
        llava.answer(*inputs(ONE), [], 1)
    finally:
        assert all(
            layer.forward == forward for layer, forward in zip(layers, forwards, strict=True)
        )


@pytest.mark.parametrize(
    ("keep_ratio", "forward_pass"),
    [
        (0.99, lambda llava: llava.answer(*inputs(ONE), [], 1)),
        (0.5, ask_past_the_backbone),
        (0.5, skip_the_cut),
    ],
    ids=["rounded-to-everything", "past-the-backbone", "hooks-taken-away"],
)
def test_compression_without_effect_is_an_error(llava, keep_ratio, forward_pass):
    with (
        pytest.raises(VacuousCompressionError),
        llava.compressed(Random(), OneLayer(layer=2), keep_ratio, 0),
    ):
        forward_pass(llava)


def shifted(prompt):
    """The first example's images stand one token later."""
    return torch.cat([prompt[:1].roll(1, 1), prompt[1:]])


@pytest.mark.parametrize(
    ("layout", "change", "reason"),
    [
        (THREE, lambda pixels, prompt: (pixels, prompt[:, 5:]), "45 placeholders.*need 48"),
        (ONE, lambda pixels, prompt: (pixels.repeat(1, 2, 1, 1, 1), prompt), "1 images.*hold 2"),
        (ONE, lambda pixels, prompt: (pixels, shifted(prompt)), "different positions"),
        (ONE, lambda pixels, prompt: (pixels, prompt[:, :18]), "ends with text"),
        (
            VisualLayout(1, (2, 8)),
            lambda pixels, prompt: (pixels, prompt),
            "2 x 8 tokens per image, the vision tower makes 4 x 4",
        ),
    ],
    ids=["placeholders", "images", "positions", "no-question", "grid"],
)
def test_prompts_that_do_not_fit_the_images_are_refused(llava, layout, change, reason):
    pixels, _, prompt = inputs(layout)
    pixels, prompt = change(pixels, prompt)
    with pytest.raises(ValueError, match=reason):
        llava.answer(pixels, layout, prompt, [], 1)


def test_an_answer_of_no_tokens_is_refused(llava):
    with pytest.raises(ValueError, match="at least one token, not 0"):
        llava.answer(*inputs(ONE), [], 0)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"vision_feature_select_strategy": "full"}, "class token"),
        ({"vision_config": AutoConfig.for_model("siglip_vision_model")}, "siglip_vision_model"),
        ({"num_key_value_heads": 3}, "4 query heads"),
    ],
    ids=["full-strategy", "other-tower", "uneven-heads"],
)
def test_the_reason_is_given_where_a_model_cannot_work(changes, reason):
    assert reason in LlavaBackbone.why_not(config_of(**changes).to_dict(), Random())


def test_a_model_of_the_family_works(llava):
    config = llava.model.config.to_dict()
    assert LlavaBackbone.why_not(config, Random()) is None
    assert LlavaBackbone.layers_in(config) == llava.num_layers == NUM_LAYERS
    text_config = config["text_config"]
    expected = CausalLMBackbone.kv_bytes_per_token(text_config, "float32")
    assert LlavaBackbone.kv_bytes_per_token(config, "float32") == expected


def test_methods_for_other_places_are_refused_by_name(llava):
    class OfPrompts(Method):
        places = ("prompt",)

    with (
        pytest.raises(InfeasibleError, match="attaches to prompt, this model has"),
        llava.compressed(OfPrompts(), Uniform(), 0.5, 0),
    ):
        pass
