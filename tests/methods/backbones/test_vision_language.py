"""What a vision-language model promises, of whichever family it is."""

from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import pytest
import torch

from methods.backbones import attention_tap
from methods.contexts import VisualLayout
from methods.controls.random import Random
from methods.schedule import OneLayer, Uniform, num_held
from tests.methods.backbones import llava_models, qwen_vl_models
from tests.methods.backbones.llava_models import (
    BATCH,
    EMPTY,
    NUM_LAYERS,
    ONE,
    REST,
    SCHEDULES,
    TEXT_MODELS,
    THREE,
    MergedByPairs,
    Scattered,
    inputs,
    reference_logits,
    stack,
)
from tests.methods.backbones.qwen_vl_models import FAMILIES

close = torch.testing.assert_close
every_model = pytest.mark.parametrize("model", [*TEXT_MODELS, *FAMILIES], indirect=True)
one_and_several = pytest.mark.parametrize("images", ["one", "several"])
methods = partial(pytest.mark.parametrize, "method", ids=lambda method: type(method).__name__)


@dataclass(frozen=True)
class Model:
    """The library's own model, the same one opened to be compressed, and how its family differs."""

    plain: Any
    backbone: Any
    one: VisualLayout
    several: VisualLayout
    family: ModuleType

    def example(self, images):
        return inputs(getattr(self, images))

    def reference_logits(self, pixels, layout, prompt, rest, transforms):
        projected, turned = self.family.projected, self.family.turned_by(self.plain, layout)
        return reference_logits(self.plain, pixels, prompt, rest, transforms, projected, turned)


@pytest.fixture
def model(request, plains, llavas, plain_qwens, qwens):
    name = request.param
    if name in TEXT_MODELS:
        return Model(plains[name], llavas[name], ONE, THREE, llava_models)
    layouts = (qwen_vl_models.WIDE, qwen_vl_models.THREE)
    return Model(plain_qwens[name], qwens[name], *layouts, qwen_vl_models)


@one_and_several
@every_model
@torch.no_grad()
def test_a_prompt_is_read_exactly_as_by_the_library(model, images):
    pixels, layout, prompt = model.example(images)
    expected = model.plain(**model.family.given(pixels, prompt))
    calls = []
    with attention_tap.attach(
        [layer.self_attn for layer in model.backbone.model.model.language_model.layers],
        lambda _, call: calls.append(call) or call,
    ):
        logits = model.backbone.continuation_logits(pixels, layout, prompt, EMPTY)
    # The prompt, then its last token alone.
    assert len(calls) == 2 * NUM_LAYERS
    for call, layer in zip(calls[:NUM_LAYERS], expected.past_key_values.layers, strict=True):
        assert torch.equal(call.key_BKND, layer.keys)
        assert torch.equal(call.value_BKND, layer.values)
    # Other kernels, other rounding.
    close(logits, expected.logits[:, -1:], atol=1e-5, rtol=1e-5)


@one_and_several
@every_model
def test_two_turns_are_answered_like_by_the_library_alone(model, images):
    pixels, layout, prompt = model.example(images)
    answers = model.backbone.answer(pixels, layout, prompt, [REST], 4)
    assert answers.shape == (BATCH, 2, 4)
    generate = partial(model.plain.generate, max_new_tokens=4, do_sample=False)
    first = generate(**model.family.given(pixels, prompt))
    assert torch.equal(answers[:, 0], first[:, prompt.shape[1] :])
    dialogue = torch.cat([first, REST], 1)
    second = generate(**model.family.given(pixels, dialogue))
    assert torch.equal(answers[:, 1], second[:, dialogue.shape[1] :])


@one_and_several
@every_model
@SCHEDULES
@methods([Random(), Scattered()])
def test_keep_ratio_1_is_exactly_the_baseline(model, images, schedule, method):
    example = model.example(images)
    baseline = [model.backbone.continuation_logits(*example, rest) for rest in (EMPTY, REST)]
    with model.backbone.compressed(method, schedule, 1.0, 0) as compression:
        inside = [model.backbone.continuation_logits(*example, rest) for rest in (EMPTY, REST)]
    assert all(map(torch.equal, inside, baseline))
    assert compression.tokens_per_layer == [example[2].shape[1]] * NUM_LAYERS
    assert compression.transforms["vlm"] == {}


@one_and_several
@every_model
@SCHEDULES
@methods([Scattered(), MergedByPairs()])
@torch.no_grad()
def test_a_cut_equals_running_every_layer_on_what_is_left(model, images, schedule, method):
    pixels, layout, prompt = model.example(images)
    for rest in (REST, EMPTY):
        with model.backbone.compressed(method, schedule, 0.3, 0) as compression:
            logits = model.backbone.continuation_logits(pixels, layout, prompt, rest)
        assert compression.transforms["vlm"]
        whole = (prompt, rest) if rest.shape[1] else (prompt[:, :-1], prompt[:, -1:])
        expected = model.reference_logits(pixels, layout, *whole, compression.transforms)
        close(logits, expected, atol=1e-4, rtol=1e-4)
        baseline = model.backbone.continuation_logits(pixels, layout, prompt, rest)
        assert (logits - baseline).abs().max() > 1e-2


@every_model
@SCHEDULES
@torch.no_grad()
def test_a_stack_cuts_visual_tokens_and_then_cache_entries(model, schedule):
    pixels, layout, prompt = model.example("several")
    method = stack(("random", {"at": "vlm"}), ("knorm", {"keep": 0.5, "schedule": Uniform()}))
    with model.backbone.compressed(method, schedule, 0.3, 0) as compression:
        logits = model.backbone.continuation_logits(pixels, layout, prompt, REST)
    held = [num_held(f, layout.num_tokens) for f in schedule.held(0.3, NUM_LAYERS)]
    num_words = prompt.shape[1] - layout.num_tokens
    assert compression.tokens_per_layer == [num_held(0.5, num + num_words) for num in held]
    expected = model.reference_logits(pixels, layout, prompt, REST, compression.transforms)
    close(logits, expected, atol=1e-4, rtol=1e-4)


@every_model
@pytest.mark.parametrize("keep_ratio", [1.0, 0.3])
def test_drafted_answers_are_the_same_in_fewer_steps(model, keep_ratio):
    pixels, layout, prompt = model.example("several")
    pruned = ("random", {"at": "vlm", "keep": keep_ratio, "schedule": OneLayer(layer=2)})

    def answers(*stages):
        # One example at a time, as drafting does, so that visual tokens are drawn alike.
        with model.backbone.compressed(stack(pruned, *stages), Uniform(), 1.0, 0) as compression:
            found = [
                model.backbone.answer(
                    pixels[i : i + 1], layout, prompt[i : i + 1], [REST[i : i + 1]], 24
                )
                for i in range(BATCH)
            ]
        return torch.cat(found), compression.steps

    plain_answers, steps = answers(("knorm", {"keep": 1.0}))
    drafted, fewer = answers(("prompt-lookup", {}))
    assert torch.equal(drafted, plain_answers)
    assert fewer < steps


@every_model
@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("kivi", {"params": {"residual": 8, "group_size": 8}}),
        ("torchao-int8", {}),
        ("quest", {"keep": 0.5, "params": {"page_size": 4}}),
    ],
)
def test_what_attaches_to_any_decoder_attaches_here(model, method, params):
    example = model.example("several")
    baseline = model.backbone.continuation_logits(*example, REST)
    pruned = ("random", {"at": "vlm", "keep": 0.5, "schedule": OneLayer(layer=2)})
    stages = stack(pruned, (method, params))
    with model.backbone.compressed(stages, Uniform(), 1.0, 0) as compression:
        assert model.backbone.answer(*example, [REST], 3).shape == (BATCH, 2, 3)
    before_cut, after_cut = compression.tokens_per_layer[1:3]
    assert before_cut - after_cut == model.several.num_tokens // 2
    assert torch.equal(model.backbone.continuation_logits(*example, REST), baseline)


@every_model
@SCHEDULES
def test_nothing_is_left_after_the_block(model, schedule):
    modules = list(model.backbone.model.modules())

    def hooks():
        return [
            len(store)
            for module in modules
            for name, store in vars(module).items()
            if name.endswith("_hooks") and store is not None
        ]

    example = model.example("several")
    before, hooks_before = model.backbone.continuation_logits(*example, REST), hooks()
    with model.backbone.compressed(Random(), schedule, 0.2, 0):
        model.backbone.answer(*example, [], 2)
    with pytest.raises(ZeroDivisionError), model.backbone.compressed(Random(), schedule, 0.2, 0):
        raise ZeroDivisionError
    assert torch.equal(model.backbone.continuation_logits(*example, REST), before)
    assert hooks() == hooks_before
    assert not any(attention_tap.is_tapped(module) for module in modules)
