"""A Qwen-VL that is cut: beside the library's own model, and beside a slow decoder."""

from functools import partial

import pytest
import torch

from methods.backbones import attention_tap
from methods.backbones.causal_lm import CausalLMBackbone
from methods.backbones.qwen_vl import MultimodalPositions, QwenVLBackbone
from methods.backbones.visual_sequence import VisualSequence
from methods.base import InfeasibleError
from methods.contexts import VisualLayout
from methods.controls.identity import Identity
from methods.controls.random import Random
from methods.registry import entries
from methods.schedule import OneLayer, Progressive, Uniform, num_held
from methods.vlm.visionzip import VisionZip
from tests.methods.backbones.llava_models import (
    BATCH,
    EMPTY,
    IMAGE,
    NUM_LAYERS,
    REST,
    SCHEDULES,
    MergedByPairs,
    Scattered,
    inputs,
    reference_logits,
    spy_on,
    stack,
)
from tests.methods.backbones.qwen_vl_models import (
    FAMILIES,
    LAYOUTS,
    THREE,
    WIDE,
    config_of,
    given,
    projected,
    random_model,
    turned_by,
)

close = torch.testing.assert_close
families = pytest.mark.parametrize("family", FAMILIES)
VISUAL = ("vlm", "video", "vision", "controls")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A randomly initialised model of each family, saved to disk."""
    found = {family: tmp_path_factory.mktemp(family) for family in FAMILIES}
    for family, folder in found.items():
        random_model(family).save_pretrained(folder)
    return found


@pytest.fixture(scope="module")
def plains():
    """The library's own models."""
    return {family: random_model(family) for family in FAMILIES}


@pytest.fixture(scope="module")
def backbones(folders):
    """The same models, opened to be compressed."""
    return {
        family: QwenVLBackbone.load(str(folder), None, torch.float32)
        for family, folder in folders.items()
    }


@pytest.fixture
def qwen(backbones):
    return backbones["qwen2_5_vl"]


@pytest.fixture
def plain(plains):
    return plains["qwen2_5_vl"]


@pytest.mark.parametrize("grid", [(3, 5), (5, 3), (1, 1), (4, 4)])
@pytest.mark.parametrize("num_images", [1, 3])
def test_rotary_positions_are_the_librarys(plain, grid, num_images):
    layout = VisualLayout(num_images, grid)
    _, _, prompt = inputs(layout)
    positions = MultimodalPositions.of(VisualSequence.of(prompt, IMAGE, layout))
    whole = torch.cat([prompt, REST], 1)
    expected = turned_by(plain, layout)(whole[0])
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


@families
@LAYOUTS
@torch.no_grad()
def test_a_prompt_is_read_exactly_as_by_the_library(backbones, plains, layout, family):
    pixels, _, prompt = inputs(layout)
    expected = plains[family](**given(pixels, prompt))
    entries = []
    with attention_tap.attach(
        [layer.self_attn for layer in backbones[family].model.model.language_model.layers],
        lambda _, call: entries.append(call) or call,
    ):
        logits = backbones[family].continuation_logits(pixels, layout, prompt, EMPTY)
    for call, layer in zip(entries, expected.past_key_values.layers, strict=False):
        assert torch.equal(call.key_BKND, layer.keys)
        assert torch.equal(call.value_BKND, layer.values)
    # The last token is read alone: other kernels, other rounding.
    close(logits, expected.logits[:, -1:], atol=1e-5, rtol=1e-5)


@families
@LAYOUTS
def test_two_turns_are_answered_like_by_the_library_alone(backbones, plains, layout, family):
    pixels, _, prompt = inputs(layout)
    answers = backbones[family].answer(pixels, layout, prompt, [REST], 4)
    assert answers.shape == (BATCH, 2, 4)
    generate = partial(plains[family].generate, max_new_tokens=4, do_sample=False)
    first = generate(**given(pixels, prompt))
    assert torch.equal(answers[:, 0], first[:, prompt.shape[1] :])
    dialogue = torch.cat([first, REST], 1)
    second = generate(**given(pixels, dialogue))
    assert torch.equal(answers[:, 1], second[:, dialogue.shape[1] :])


@LAYOUTS
@SCHEDULES
def test_keep_ratio_1_is_exactly_the_baseline(qwen, layout, schedule):
    example = inputs(layout)
    baseline = [qwen.continuation_logits(*example, rest) for rest in (EMPTY, REST)]
    with qwen.compressed(Scattered(), schedule, 1.0, 0) as compression:
        inside = [qwen.continuation_logits(*example, rest) for rest in (EMPTY, REST)]
    assert all(map(torch.equal, inside, baseline))
    assert compression.tokens_per_layer == [example[2].shape[1]] * NUM_LAYERS


@families
@LAYOUTS
@SCHEDULES
@pytest.mark.parametrize("method", [Scattered(), MergedByPairs()], ids=lambda m: type(m).__name__)
@torch.no_grad()
def test_a_cut_equals_running_every_layer_on_what_is_left(
    backbones, plains, layout, schedule, method, family
):
    backbone, plain = backbones[family], plains[family]
    pixels, _, prompt = inputs(layout)
    with backbone.compressed(method, schedule, 0.3, 0) as compression:
        logits = backbone.continuation_logits(pixels, layout, prompt, REST)
    assert compression.transforms["vlm"]
    expected = reference_logits(
        plain, pixels, prompt, REST, compression.transforms, projected, turned_by(plain, layout)
    )
    close(logits, expected, atol=1e-4, rtol=1e-4)
    baseline = backbone.continuation_logits(pixels, layout, prompt, REST)
    assert (logits - baseline).abs().max() > 1e-2


@SCHEDULES
@torch.no_grad()
def test_a_stack_cuts_visual_tokens_and_then_cache_entries(qwen, plain, schedule):
    pixels, layout, prompt = inputs(THREE)
    method = stack(("random", {"at": "vlm"}), ("knorm", {"keep": 0.5, "schedule": Uniform()}))
    with qwen.compressed(method, schedule, 0.3, 0) as compression:
        logits = qwen.continuation_logits(pixels, layout, prompt, REST)
    held = [num_held(f, layout.num_tokens) for f in schedule.held(0.3, NUM_LAYERS)]
    num_words = prompt.shape[1] - layout.num_tokens
    assert compression.tokens_per_layer == [num_held(0.5, num + num_words) for num in held]
    expected = reference_logits(
        plain, pixels, prompt, REST, compression.transforms, projected, turned_by(plain, layout)
    )
    close(logits, expected, atol=1e-4, rtol=1e-4)


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


def test_drafted_answers_are_the_same_in_fewer_steps(qwen):
    pixels, layout, prompt = (part if i == 1 else part[:1] for i, part in enumerate(inputs(WIDE)))
    pruned = ("random", {"at": "vlm", "keep": 0.3, "schedule": OneLayer(layer=2)})

    def answers(*stages):
        with qwen.compressed(stack(pruned, *stages), Uniform(), 1.0, 0) as compression:
            found = qwen.answer(pixels, layout, prompt, [REST[:1]], 24)
        return found, compression.steps

    plain_answers, steps = answers(("knorm", {"keep": 1.0}))
    drafted, fewer = answers(("prompt-lookup", {}))
    assert torch.equal(drafted, plain_answers)
    assert fewer < steps


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("kivi", {"params": {"residual": 8, "group_size": 8}}),
        ("torchao-int8", {}),
        ("quest", {"keep": 0.5, "params": {"page_size": 4}}),
    ],
)
def test_what_attaches_to_any_decoder_attaches_here(qwen, method, params):
    example = inputs(THREE)
    baseline = qwen.continuation_logits(*example, REST)
    pruned = ("random", {"at": "vlm", "keep": 0.5, "schedule": OneLayer(layer=2)})
    with qwen.compressed(stack(pruned, (method, params)), Uniform(), 1.0, 0) as compression:
        assert qwen.answer(*example, [REST], 3).shape == (BATCH, 2, 3)
    before_cut, after_cut = compression.tokens_per_layer[1:3]
    assert before_cut - after_cut == THREE.num_tokens // 2
    assert torch.equal(qwen.continuation_logits(*example, REST), baseline)


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
def test_visionzip_goes_by_the_attention_that_tokens_receive(backbones, family):
    contexts, backbone = [], backbones[family]
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


def test_nothing_is_left_after_the_block(qwen):
    example = inputs(THREE)
    before = qwen.continuation_logits(*example, REST)
    with qwen.compressed(Random(), Progressive(), 0.2, 0):
        qwen.answer(*example, [], 2)
    assert torch.equal(qwen.continuation_logits(*example, REST), before)
    assert qwen.model.model.rope_deltas is None
    assert not any(attention_tap.is_tapped(module) for module in qwen.model.modules())


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
