"""The tasks of vision-language models: vqa and video-qa."""

import json
from functools import cache
from pathlib import Path

import pytest
import torch

import sweeps.reference
from methods import registry as methods_registry
from methods.backbones.llava import LlavaBackbone
from methods.contexts import VisualLayout
from sweeps.data import wording
from sweeps.models import references
from sweeps.tasks.video_qa import VideoQA
from sweeps.tasks.vqa import VQA

REFERENCE = Path(sweeps.reference.__file__).parent
BACKBONES = {VQA: "llava_scenes", VideoQA: "llava_video"}
KINDS = ("single", "detail", "two-turn", "several", "anyres")
QUESTIONS = ("what", "when", "order", "motion")
EVERY = [VQA(num_examples=64, kind=kind) for kind in KINDS] + [
    VideoQA(num_examples=64, asked=asked) for asked in QUESTIONS
]


def seeds_of(task):
    """Seeds whose weights ship."""
    return references()[BACKBONES[type(task)].replace("_", "-")].seeds


LEAST = {"video-qa-order": 0.65, "video-qa-motion": 0.3}
"""What the shipped weights reach less well than the rest; the model card says how well."""
ALL = [task for task in EVERY if seeds_of(task)]
TRAINED = [(task, seed) for task in ALL for seed in seeds_of(task)]


def name(task):
    return f"{task.id}-{task.kind if isinstance(task, VQA) else task.asked}"


def config(task, seed=0):
    folder = REFERENCE / BACKBONES[type(task)] / f"seed-{seed}"
    if not folder.is_dir():
        pytest.skip(f"{BACKBONES[type(task)]} has no weights for seed {seed} yet")
    return json.loads((folder / "config.json").read_text())


@cache
def opened(family, seed=0):
    return LlavaBackbone.load(str(REFERENCE / family / f"seed-{seed}"), None, torch.float32)


def quality(task, seed=0, method="identity", keep_ratio=1.0):
    backbone, chosen = opened(BACKBONES[type(task)], seed), methods_registry.build(method, {})
    with backbone.compressed(chosen, chosen.home, keep_ratio, seed=0):
        outcomes = [task.outcomes(backbone, batch) for batch in task.batches()]
    return torch.cat(outcomes).mean().item()


@pytest.mark.parametrize(("task", "seed"), TRAINED, ids=str)
def test_every_shipped_llava_does_its_tasks(task, seed):
    assert quality(task, seed) > LEAST.get(name(task), 0.8)


@pytest.mark.parametrize("task", [t for t in ALL if name(t) != "video-qa-motion"], ids=name)
def test_losing_random_tokens_costs_answers(task):
    quarter, tenth = (quality(task, 0, "random", keep) for keep in (0.25, 0.1))
    whole = quality(task)
    assert tenth < whole - 0.15
    assert tenth <= quarter + 0.05


@pytest.mark.parametrize("task", ALL, ids=name)
def test_a_prediction_agrees_with_its_outcome(task):
    backbone, batch = opened(BACKBONES[type(task)]), task.batches()[0]
    last = [prediction["answers"][-1] for prediction in task.predict(backbone, batch)]
    expected = wording.words(batch.answers[:, -1].tolist()).split()
    right = [float(a == b) for a, b in zip(last, expected, strict=True)]
    assert right == task.outcomes(backbone, batch).tolist()


@pytest.mark.parametrize("task", ALL, ids=name)
def test_a_request_with_the_content_of_an_example_is_answered_like_it(task):
    backbone, batch = opened(BACKBONES[type(task)]), task.batches()[1]
    inputs = {
        "pixel_values": batch.pixels[8].tolist(),
        "questions": [wording.words(row) for row in batch.questions[8].tolist()],
    }
    one = task.predict(backbone, task.batch_of({"example": 40}))
    assert one == task.predict(backbone, task.batch_of(inputs))
    assert len(one[0]["answers"]) == task.num_turns
    json.dumps(one)


def test_the_second_question_is_not_in_the_prompt_when_tokens_are_cut():
    task, prompts = VQA(num_examples=8, kind="two-turn"), []

    class Listening:
        model, device = opened("llava_scenes").model, torch.device("cpu")

        def answer(self, pixels, layout, prompt, later, num_new):
            prompts.append((layout, prompt, later))
            return opened("llava_scenes").answer(pixels, layout, prompt, later, num_new)

    batch = task.batches()[0]
    task.predict(Listening(), batch)
    [(layout, prompt, later)] = prompts
    assert layout == VisualLayout(1, (8, 8), "single")
    assert prompt.shape == (8, 1 + 64 + 3)
    torch.testing.assert_close(prompt[:, -3:], batch.questions[:, 0])
    torch.testing.assert_close(later, [batch.questions[:, 1]])


@pytest.mark.parametrize(
    ("task", "layout"),
    [
        (VQA(kind="several"), VisualLayout(4, (8, 8), "several")),
        (VQA(kind="anyres"), VisualLayout(5, (8, 8), "crops", (2, 2))),
        (VideoQA(), VisualLayout(6, (8, 8), "frames")),
    ],
)
def test_layouts_say_what_the_images_are(task, layout):
    assert task.layout((8, 8)) == layout
    assert task.num_tokens(config(task)) == layout.num_tokens
    assert task.batches()[0].pixels.shape[1] == layout.num_images


IMAGE = [[[0.0] * 32] * 32] * 3


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "must hold"),
        ({"pixel_values": [IMAGE]}, "must hold"),
        ({"example": 1, "questions": []}, "must hold"),
        ({"example": 64}, "from 0 to 63; got 64"),
        ({"pixel_values": IMAGE, "questions": ["count of all"]}, "list of 1; got 3"),
        ({"pixel_values": "scene", "questions": ["count of all"]}, "list of 1; got str"),
        ({"pixel_values": [IMAGE[:1]], "questions": ["count of all"]}, r"got \(1, 32, 32\)"),
        ({"pixel_values": [IMAGE], "questions": []}, "questions must be a list of 1; got 0"),
        ({"pixel_values": [IMAGE], "questions": ["count"]}, "has 3 words; got 'count'"),
        ({"pixel_values": [IMAGE], "questions": [7]}, "has 3 words; got 7"),
        ({"pixel_values": [IMAGE], "questions": ["digit of purple"]}, "unknown word 'purple'"),
    ],
)
def test_malformed_requests_are_refused(inputs, message):
    with pytest.raises(ValueError, match=message):
        VQA(num_examples=64).batch_of(inputs)


def test_incompatible_models_are_refused_with_a_reason():
    task = VQA()
    fits = config(task)
    assert task.incompatible_with(fits) is None
    assert VideoQA().incompatible_with(fits) is None
    large = {"vision_config": fits["vision_config"] | {"image_size": 336}}
    assert "image_size 32" in task.incompatible_with(fits | large)
    few = {"text_config": fits["text_config"] | {"vocab_size": 10}}
    assert "vocabulary" in task.incompatible_with(fits | few)
    assert "image_token_index 2" in task.incompatible_with(fits | {"image_token_index": 9})
    assert "image_size" in task.incompatible_with({"vocab_size": 196})
