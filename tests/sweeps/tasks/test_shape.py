"""Inputs without meaning: as large as asked for, as the model takes them, always the same."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import AutoConfig

from sweeps.models import configs
from sweeps.tasks import registry
from sweeps.tasks._shape import NUM_RESERVED


def resolved(name):
    return AutoConfig.for_model(**json.loads(configs()[name].read_text()))


def batch(task_id, name, **params):
    return registry.build(task_id, params).drawn(resolved(name))


def test_images_have_the_models_size():
    pixels = batch("shape-vision", "deit-b-384", batch_size=2).pixel_values
    assert (pixels.shape, pixels.dtype) == ((2, 3, 384, 384), torch.float32)
    assert abs(float(pixels.std()) - 1) < 0.01


def test_prompts_are_of_the_models_vocabulary():
    prompt = batch("shape-kv", "llama-3-8b", prompt_length=4096, batch_size=3).prompt
    assert prompt.shape == (3, 4096)
    assert int(prompt.min()) >= NUM_RESERVED
    assert 0.99 * 128256 < int(prompt.max()) < 128256


def test_images_stand_in_front_of_the_text():
    made = batch("shape-vlm", "llava-1.5-7b", images=5, text_length=16)
    assert made.pixel_values.shape == (1, 5, 3, 336, 336)
    assert made.prompt.shape == (1, 2880 + 16)
    assert (made.prompt == 32000).sum() == 2880
    assert (made.prompt[:, 2880:] < 32000).all()


def test_images_have_a_chosen_size_where_a_tower_takes_any():
    made = batch("shape-vlm", "qwen2.5-vl-7b", image_size=280, images=2, text_length=8)
    assert made.pixel_values.shape == (1, 2, 3, 280, 280)
    assert (made.prompt == 151655).sum() == 2 * 100
    assert made.prompt.shape == (1, 208)
    assert (made.prompt[:, 200:] < 151655).all()


@pytest.mark.parametrize(
    ("name", "size", "reason"),
    [
        ("qwen2.5-vl-7b", 650, "image_size 650 is no multiple of 28, a token's side"),
        ("llava-1.5-7b", 672, "image_size 672, but this model takes 336 only"),
    ],
)
def test_images_of_a_size_that_a_tower_does_not_take_are_refused(name, size, reason):
    task = registry.build("shape-vlm", {"image_size": size})
    assert reason in task.incompatible_with(json.loads(configs()[name].read_text()))


def test_a_published_config_may_leave_defaults_out():
    config = json.loads(configs()["qwen2.5-vl-7b"].read_text())
    config |= config.pop("text_config") | {"model_type": "qwen2_5_vl"}
    config["vision_config"] = {"hidden_size": 1280, "in_chans": 3, "model_type": "qwen2_5_vl"}
    task = registry.build("shape-vlm", {})
    assert task.num_tokens(config) == 576
    assert task.incompatible_with(config) is None
    short = config | {"max_position_embeddings": 600}
    assert "644 positions; this model has 600" in task.incompatible_with(short)


@pytest.mark.parametrize(
    ("task_id", "name"),
    [("shape-vision", "deit-b"), ("shape-kv", "llama-3-8b"), ("shape-vlm", "llava-1.5-7b")],
)
def test_inputs_are_the_same_every_time(task_id, name):
    first, second = (vars(batch(task_id, name)) for _ in range(2))
    assert all(torch.equal(first[field], second[field]) for field in first)


@pytest.mark.parametrize(
    ("task_id", "name", "params", "tokens"),
    [
        ("shape-vision", "deit-b", {}, 196),
        ("shape-vision", "deit-b-384", {}, 576),
        ("shape-kv", "llama-3-8b", {"prompt_length": 2048}, 2047),
        ("shape-vlm", "llava-1.5-7b", {"images": 5}, 2880),
        ("shape-vlm", "qwen2.5-vl-7b", {}, 576),
        ("shape-vlm", "qwen2.5-vl-7b", {"images": 5}, 2880),
        ("shape-vlm", "qwen2.5-vl-7b", {"image_size": 1512}, 2916),
    ],
)
def test_compressible_tokens_are_read_off_the_config(task_id, name, params, tokens):
    config = json.loads(configs()[name].read_text())
    task = registry.build(task_id, params)
    assert task.num_tokens(config) == tokens
    assert task.incompatible_with(config) is None


def test_prompts_that_a_model_has_no_room_for_are_refused():
    config = json.loads(configs()["llama-3-8b"].read_text())
    task = registry.build("shape-kv", {"prompt_length": 8192})
    assert "8196 positions; this model has 8192" in task.incompatible_with(config)


def test_no_quality_can_be_asked_of_shapes():
    task = registry.build("shape-kv", {})
    assert not task.has_answers
    assert task.batches() == []
    with pytest.raises(ValueError, match="answers no requests"):
        task.batch_of({"example": 7})
