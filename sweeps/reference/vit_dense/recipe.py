"""Trains the `vit-dense` backbone from scratch: a small ViT that paints every pixel's class.

`ViTForMaskedImageModeling` predicts an image of three channels; here a channel is the score of a
class (background, fragment, digit), and nothing is masked. Two stages: windows of 2x2 cells, which
cost 0.4 of a step on whole scenes, then whole scenes. The loss is cross-entropy per pixel.

Shapes: B scenes, S = 48 scene side, N = 144 patch tokens, W window tokens, D width, P pixels of a
patch, K = 3 classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import ViTConfig, ViTForMaskedImageModeling

from sweeps.data import ink
from sweeps.data.scenes import LATTICE, SIDE, Warp
from sweeps.data.streams import Split
from sweeps.reference import lattice, training
from sweeps.reference.lattice import PATCH
from sweeps.reference.training import Optimiser, Progress, fit, report, reproducible

CLASSES: Final = len(ink.CLASSES)
EVALUATED: Final = 1024  # scenes of a split behind each reported quality


@dataclass(frozen=True)
class Stage(training.Stage):
    """One stretch of training."""

    cells: int = LATTICE  # side of the window of cells that the network sees


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the weights, besides the seed."""

    hidden_size: int = 64
    intermediate_size: int = 128
    depth: int = 6
    heads: int = 4
    initializer_range: float = 0.1
    batch_size: int = 32
    optimiser: Optimiser = field(default_factory=Optimiser)
    warp: Warp = field(
        default_factory=lambda: Warp(rotation=0.2, log_scale=0.1, shear=0.15, shift=0.4, ink=0.3)
    )
    stages: tuple[Stage, ...] = (
        Stage("window", steps=500, lr=2e-3, warmup=60, cells=2),
        Stage("whole", steps=350, lr=1.4e-3, warmup=15, decay=True),
    )


RECIPE: Final = Recipe()


def train(seed: int, out: Path, progress: Progress, budget: float = 1.0) -> dict[str, float]:
    """Train from scratch on one thread, save a Hugging Face directory to `out`, measure it.

    `budget` scales the number of steps of every stage. Returns `validation` and `test`, the mean
    intersection over union of the saved model in 0..1 (see :func:`quality`), and `loss_first` and
    `loss_last`, the means over the first and last tenth of training.
    """
    with reproducible(seed):
        model = ViTForMaskedImageModeling(_config(RECIPE)).train()
        rng = np.random.default_rng((seed, 1))
        traces = fit(
            f"vit-dense seed {seed}",
            RECIPE.stages,
            lambda stage: _loss(model, rng, RECIPE, stage),
            model.parameters(),
            RECIPE.optimiser,
            progress,
            budget,
        )
        return report(model, out, traces, lambda saved, split: quality(saved, split, EVALUATED))


def _config(recipe: Recipe) -> ViTConfig:
    return ViTConfig(
        image_size=SIDE,
        patch_size=PATCH,
        encoder_stride=PATCH,
        num_channels=CLASSES,
        hidden_size=recipe.hidden_size,
        intermediate_size=recipe.intermediate_size,
        num_hidden_layers=recipe.depth,
        num_attention_heads=recipe.heads,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=recipe.initializer_range,
    )


def _loss(
    model: ViTForMaskedImageModeling, rng: np.random.Generator, recipe: Recipe, stage: Stage
) -> tuple[Tensor, float]:
    """Cross-entropy per pixel, and the share of right pixels among those with ink."""
    drawn = ink.compose(rng, "train", recipe.batch_size, recipe.warp)
    around = rng.integers(0, LATTICE**2, recipe.batch_size)
    window_BW = lattice.tokens_within(lattice.corners(rng, around, stage.cells), stage.cells)
    with lattice.only(model.vit.embeddings, window_BW):
        image_BKSS = model(torch.from_numpy(drawn.pixels)).reconstruction
    target_BSS = _window_of(torch.from_numpy(drawn.classes), window_BW)
    correct = (image_BKSS.argmax(1) == target_BSS)[target_BSS != ink.BACKGROUND].float().mean()
    return functional.cross_entropy(image_BKSS, target_BSS), correct.item()


def _window_of(classes_BSS: Tensor, window_BW: Tensor) -> Tensor:
    """The part of the label images that the window's tokens stand for."""
    patches_BPN = functional.unfold(classes_BSS[:, None].float(), PATCH, stride=PATCH)
    window_BPW = patches_BPN.gather(2, window_BW[:, None].expand(-1, PATCH * PATCH, -1))
    side = math.isqrt(window_BW.shape[1]) * PATCH
    image_B1SS = functional.fold(window_BPW, (side, side), PATCH, stride=PATCH)
    return image_B1SS[:, 0].long()


@torch.inference_mode()
def quality(model: ViTForMaskedImageModeling, split: Split, count: int) -> float:
    """Mean over scenes of :func:`sweeps.data.ink.mean_iou`, of a split's fixed stream."""
    drawn = ink.stream(split, count)
    pixels, classes = torch.from_numpy(drawn.pixels), torch.from_numpy(drawn.classes)
    scores = [
        ink.mean_iou(model(part).reconstruction.argmax(1).numpy(), labels.numpy())
        for part, labels in zip(torch.split(pixels, 64), torch.split(classes, 64), strict=True)
    ]
    return float(np.concatenate(scores).mean())
