"""Trains the `llava-video` backbone: `llava-scenes` of the same seed, taught to watch videos.

As video models start from image models, projector and language model go on from the weights that
`llava-scenes` ships, and its tower stays frozen; where a seed is not shipped, it is trained first.
Packed questions (see :mod:`sweeps.reference.llava`) about videos of six frames, all sorts of
questions in turn. All visual tokens of all frames are read.

Shapes: B sequences, F = 6 frames, N = 64 tokens of a frame, D width, P pooled videos.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from sweeps import reference
from sweeps.data import videos, wording
from sweeps.data.scenes import Warp
from sweeps.data.streams import Split
from sweeps.data.videos import ASKED, Asked, Story
from sweeps.reference import llava, tower
from sweeps.reference.llava import Trainee
from sweeps.reference.llava_scenes import recipe as llava_scenes
from sweeps.reference.training import Optimiser, Progress, Stage, fit, report, reproducible

EVALUATED: Final = 512  # videos for each kind of question behind each reported accuracy
SHIPPED: Final = Path(reference.__file__).parent / "llava_scenes"


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the weights, besides the seed and the weights it starts from."""

    batch_size: int = 8
    questions: int = 12  # in a sequence
    videos: int = 640  # whose features are computed once
    optimiser: Optimiser = field(default_factory=Optimiser)
    warp: Warp = field(default_factory=lambda: llava_scenes.RECIPE.tower.warp)
    stages: tuple[Stage, ...] = (
        Stage("videos", steps=900, lr=2e-3, warmup=30),
        Stage("settle", steps=300, lr=2e-3, warmup=1, decay=True),
    )


RECIPE: Final = Recipe()


@dataclass(frozen=True)
class _Pool:
    """Videos as the frozen tower sees them."""

    features: Tensor  # [P, F, N, D]
    stories: list[Story]


def train(seed: int, out: Path, progress: Progress, budget: float = 1.0) -> dict[str, float]:
    """Train on one thread, save a Hugging Face directory to `out`, measure it.

    `budget` scales the number of steps. Returns `validation` and `test`, the shares of right
    answers of the saved model, 0..1, averaged over the four kinds of question, and `loss_first`
    and `loss_last`, the means over the first and last tenth of training.
    """
    model = _start(seed, progress, budget).train()
    with reproducible(seed):
        rng = np.random.default_rng((seed, 3))
        pool = _pool(model, rng, RECIPE)
        trainee = Trainee(model)
        traces = fit(
            f"llava-video seed {seed}",
            RECIPE.stages,
            lambda _stage: _loss(trainee, rng, pool, RECIPE),
            trainee.learning(),
            RECIPE.optimiser,
            progress,
            budget,
        )
        return report(model, out, traces, lambda saved, split: accuracy(saved, split, EVALUATED))


def _start(seed: int, progress: Progress, budget: float) -> LlavaForConditionalGeneration:
    folder = SHIPPED / f"seed-{seed}"
    if folder.is_dir():
        return LlavaForConditionalGeneration.from_pretrained(folder)
    with TemporaryDirectory() as trained:
        llava_scenes.train(seed, Path(trained), progress, budget)
        return LlavaForConditionalGeneration.from_pretrained(trained)


def _pool(model: LlavaForConditionalGeneration, rng: np.random.Generator, recipe: Recipe) -> _Pool:
    pixels, stories = videos.draw(rng, "train", recipe.videos, recipe.warp)
    flat = tower.features(model.model.vision_tower, pixels.reshape(-1, *pixels.shape[2:]))
    return _Pool(flat.view(recipe.videos, -1, *flat.shape[1:]), stories)


def _loss(
    trainee: Trainee, rng: np.random.Generator, pool: _Pool, recipe: Recipe
) -> tuple[Tensor, float]:
    chosen = rng.integers(0, len(pool.stories), recipe.batch_size)
    turns = [videos.ask(rng, pool.stories[at], recipe.questions) for at in chosen]
    return trainee.loss(pool.features[torch.from_numpy(chosen)], wording.FRAMES, turns)


def accuracy(model: LlavaForConditionalGeneration, split: Split, count: int) -> float:
    """Share of right answers, 0..1, averaged over kinds of question; `count` videos of each."""
    return float(np.mean([accuracy_of(model, asked, split, count) for asked in ASKED]))


def accuracy_of(
    model: LlavaForConditionalGeneration, asked: Asked, split: Split, count: int
) -> float:
    """Share of right answers, 0..1, in a split's fixed stream of one kind of question."""
    right_BQ = llava.right_answers(model, videos.stream(split, asked, count))
    return right_BQ.float().mean().item()
