"""What sets a Qwen-VL that is cut apart from other models that see images."""

import pytest
import torch

from methods.backbones.causal_lm import CausalLMBackbone
from methods.backbones.qwen_vl import MultimodalPositions, QwenVLBackbone
from methods.backbones.visual_sequence import VisualSequence
from methods.base import InfeasibleError
from methods.contexts import VisualLayout
from methods.controls.identity import Identity
from methods.controls.random import Random
from methods.registry import entries
from methods.schedule import Progressive, Uniform, num_held
from methods.vlm.visionzip import VisionZip
from tests.methods.backbones.llava_models import (
    BATCH,
    EMPTY,
    IMAGE,
    NUM_LAYERS,
    REST,
    inputs,
    spy_on,
)
from tests.methods.backbones.qwen_vl_models import (
    FAMILIES,
    THREE,
    WIDE,
    config_of,
    turned_by,
)

close = torch.testing.assert_close
families = pytest.mark.parametrize("family", FAMILIES)
VISUAL = ("vlm", "video", "vision", "controls")


@pytest.mark.parametrize("grid", [(3, 5), (5, 3), (1, 1), (4, 4)])
@pytest.mark.parametrize("num_images", [1, 3])
def test_rotary_positions_are_the_librarys(plain_qwen, grid, num_images):
    layout = VisualLayout(num_images, grid)
    _, _, prompt = inputs(layout)
    positions = MultimodalPositions.of(VisualSequence.of(prompt, IMAGE, layout))
    whole = torch.cat([prompt, REST], 1)
    expected = turned_by(plain_qwen, layout)(whole[0])
    assert torch.equal(positions(torch.arange(whole.shape[1])[None])[:, 0], expected)


def test_images_side_by_side_are_turned_one_after_the_other():
    layout = VisualLayout(2, (2, 3))
    prompt = torch.tensor([[5] + [IMAGE] * 12 + [6]])
    positions = MultimodalPositions.of(VisualSequence.of(prompt, IMAGE, layout))
    assert positions(torch.arange(15)[None])[:, 0].tolist() == [
        [0, *[1] * 6, *[4] * 6, 7, 8],
        [0, *[1, 1, 1, 2, 2, 2], *[4, 4, 4, 5, 5, 5], 7, 8],
        [0, *[1, 2, 3] * 2, *[4, 5, 6] * 2, 7, 8],
    ]


def test_cut_tokens_leave_no_entries_and_answers_are_fed_behind(qwen):
    example = inputs(THREE)
    per_token = QwenVLBackbone.kv_bytes_per_token(qwen.model.config.to_dict(), "float32")
    num_words = example[2].shape[1] - THREE.num_tokens
    with qwen.compressed(Random(), Uniform(), 0.3, 0) as compression:
        qwen.answer(*example, [REST], 2)
    # The prompt's last word is fed a second time and held only then.
    held = num_words + num_held(0.3, THREE.num_tokens) - 1
    assert compression.tokens_per_layer == [held] * NUM_LAYERS
    assert compression.kv_bytes == per_token * held


def visual_methods():
    for entry in entries().values():
        if entry.family in VISUAL and entry.stands_alone and "vlm" in entry.method.places:
            yield pytest.param(entry, id=entry.id)


@pytest.mark.parametrize("entry", list(visual_methods()))
def test_methods_hold_what_their_schedule_says_or_are_impossible(qwen, entry):
    config, method = qwen.model.config.to_dict(), entry.method()
    if method.needs_cls:
        reason = QwenVLBackbone.why_not(config, method)
        assert reason == (
            f"{entry.id} reads the class token's attention; the vision tower of qwen2_5_vl has no "
            "class token"
        )
        return
    assert QwenVLBackbone.why_not(config, method) is None
    if method.changes_nothing(0.3) or isinstance(method, Identity):
        return
    layout = VisualLayout(4, (3, 4), "frames")
    with qwen.compressed(method, method.home, 0.3, 0) as compression:
        logits = qwen.continuation_logits(*inputs(layout), EMPTY)
    held = [num_held(share, layout.num_tokens) for share in method.home.held(0.3, NUM_LAYERS)]
    before = [layout.num_tokens, *held[:-1]]
    cuts = {layer: w.num_out for layer, w in compression.transforms["vlm"].items()}
    assert cuts == {layer: now for layer, now in enumerate(held) if now < before[layer]}
    assert logits.isfinite().all()


@families
def test_visionzip_goes_by_the_attention_that_tokens_receive(qwens, family):
    contexts, backbone = [], qwens[family]
    with backbone.compressed(spy_on(contexts), Uniform(), 0.4, 0):
        backbone.answer(*inputs(THREE), [], 1)
    with backbone.compressed(VisionZip(contextual_share=0), Uniform(), 0.4, 0) as compression:
        backbone.answer(*inputs(THREE), [], 1)
    received_BIP = contexts[0].tower.received_LBIP[-1]
    best_BIK = received_BIP.topk(round(0.4 * THREE.per_image)).indices
    expected_BIK = best_BIK + THREE.per_image * torch.arange(THREE.num_images)[:, None]
    kept_BK = compression.transforms["vlm"][0].dense().argmax(2)
    assert torch.equal(kept_BK, expected_BIK.flatten(1).sort().values)


def test_patches_inside_the_tower_are_left_alone(qwen):
    with (
        pytest.raises(InfeasibleError, match="tome attaches to vision, this model has vlm"),
        qwen.compressed(entries()["tome"].method(), Uniform(), 0.5, 0),
    ):
        pass


def test_the_library_is_left_without_positions_of_the_last_prompt(qwen):
    with qwen.compressed(Random(), Progressive(), 0.2, 0):
        qwen.answer(*inputs(THREE), [], 2)
    assert qwen.model.model.rope_deltas is None


@pytest.mark.parametrize(
    ("layout", "size", "reason"),
    [
        (WIDE, (12, 22), "12 x 22 pixels are no whole number of tokens, which take 4 x 4 each"),
        (WIDE, (20, 12), "3 x 5 tokens per image, images of 20 x 12 pixels make 5 x 3"),
        (VisualLayout(2, (3, 5)), (12, 20), "2 images per example, the pixels hold 1"),
    ],
    ids=["part-of-a-token", "turned", "images"],
)
def test_images_that_do_not_fit_the_layout_are_refused(qwen, layout, size, reason):
    _, _, prompt = inputs(layout)
    with pytest.raises(ValueError, match=reason):
        qwen.answer(torch.zeros(BATCH, 1, 3, *size), layout, prompt, [], 1)


@families
def test_a_published_config_holds_the_decoder_at_its_top(family):
    nested = config_of(family).to_dict() | {"architectures": ["any"]}
    flat = {**nested, **nested.pop("text_config"), "model_type": family}
    del flat["layer_types"]
    for config in (nested | {"text_config": config_of(family).text_config.to_dict()}, flat):
        assert QwenVLBackbone.layers_in(config) == NUM_LAYERS
        assert QwenVLBackbone.layers_in(QwenVLBackbone.shortened(config, 2)) == 2
        assert QwenVLBackbone.why_not(config, Random()) is None
        text_config = config.get("text_config", flat)
        expected = CausalLMBackbone.kv_bytes_per_token(
            {**text_config, "model_type": f"{family}_text"}, "bfloat16"
        )
        assert QwenVLBackbone.kv_bytes_per_token(config, "bfloat16") == expected


def test_sliding_windows_are_out():
    config = config_of(use_sliding_window=True, sliding_window=8, max_window_layers=1).to_dict()
    assert "see only the last 8 tokens" in QwenVLBackbone.why_not(config, Random())
