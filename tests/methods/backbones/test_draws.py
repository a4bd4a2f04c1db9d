"""Draws of one trial: their own at every place, and the same whether or not something rehearses."""

import pytest
import torch

from methods.backbones.base import layer_generator
from methods.contexts import CacheContext, VisionContext, VisualContext
from methods.controls.random import Random
from methods.schedule import Uniform
from tests.methods.backbones.llava_models import ONE, inputs, spy_on, stack


def drawn(llava, context):
    contexts = []
    with llava.compressed(spy_on(contexts, context), Uniform(), 0.5, 3):
        llava.answer(*inputs(ONE), [], 1)
    return torch.rand(4, generator=contexts[0].generator)


def test_every_place_draws_for_itself(llava):
    places = (VisionContext, VisualContext, CacheContext)
    found = torch.stack([drawn(llava, context) for context in places])
    assert len(found.unique()) == found.numel()


def test_a_stage_draws_what_it_draws_alone(llava):
    visual, cache = ("random", {"at": "vlm"}), ("random", {"at": "kv", "keep": 0.25})
    kept = []
    for stages in ((visual,), (visual, cache)):
        with llava.compressed(stack(*stages), Uniform(), 0.5, 0) as compression:
            llava.answer(*inputs(ONE), [], 1)
        kept.append(compression.transforms["vlm"][0].cols)
    assert torch.equal(*kept)


@pytest.mark.parametrize("place", ["vision", "vlm"])
def test_a_rehearsal_draws_what_it_rehearses_and_shifts_nothing(llava, place, monkeypatch):
    draws, score = [], Random.score

    def noted(self, ctx):
        draws.append(score(self, ctx))
        return draws[-1]

    monkeypatch.setattr(Random, "score", noted)
    for method in ("knorm", "oracle"):
        pruned = ("random", {"at": place, "keep": 0.5})
        with llava.compressed(stack(pruned, (method, {"keep": 0.5})), Uniform(), 1.0, 0):
            for _ in range(2):
                llava.answer(*inputs(ONE), [], 1)
    first, second, *rehearsed = draws
    assert not torch.equal(first, second)
    assert len(rehearsed) == 4
    assert all(map(torch.equal, (first, first, second, second), rehearsed))


def test_prompts_are_shortened_alike_in_a_rehearsal_and_after_it(recall_model):
    prompt = torch.randint(4, 60, (2, 40), generator=torch.Generator().manual_seed(0))
    kept = {"knorm": [], "oracle": []}
    for method, found in kept.items():
        stages = (("random", {"at": "prompt", "keep": 0.5}), (method, {"keep": 0.5}))
        with recall_model.compressed(stack(*stages), Uniform(), 1.0, 0) as compression:
            for _ in range(2):
                recall_model.generate(prompt, prompt[:, :0], 2)
                found.append(compression.transforms["prompt"][0].cols)
    assert not torch.equal(*kept["knorm"])
    assert all(map(torch.equal, kept["knorm"], kept["oracle"]))


def test_seeds_of_draws_are_what_they_were():
    """Stored trials hang on them: with new seeds, all methods that draw need a new version."""
    seeds = [layer_generator(7, place, 1, 2).initial_seed() for place in ("vision", "vlm", "kv")]
    assert seeds == [4236919212262571918, 5486725031800356753, 3668006444248530599]
