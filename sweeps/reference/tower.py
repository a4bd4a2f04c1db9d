"""Trains the vision tower of the vision-language backbones: a small CLIP on pictures of digits.

Every patch token of the layer that LLaVA projects, the last but one, names digit, colour, row and
column of its own cell; the class token names which digits and colours there are, after that layer
and at the end, so that its attention finds them. A quarter of a batch are thumbnails, in which a
digit is about one token. Heads are thrown away.

Shapes: B images, N = 64 patch tokens (8x8, patches of 4 px), D width, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPVisionConfig, CLIPVisionModel

from sweeps.data import mosaics
from sweeps.data.captions import NO_COLOUR, NO_DIGIT
from sweeps.data.mosaics import LATTICE, SIDE, SLOTS
from sweeps.data.scenes import Floats, Ints, Warp
from sweeps.reference.training import Optimiser, Progress, Stage, Trace, fit

PATCH: Final = 4  # px
GRID: Final = SIDE // PATCH  # patches along a side
TOKENS: Final = GRID**2
SELECTED: Final = -2  # layer whose patch tokens LLaVA-1.5 projects

_CLASSES: Final = (NO_DIGIT + 1, NO_COLOUR + 1, LATTICE, LATTICE)  # digit, colour, row, column


@dataclass(frozen=True)
class TowerStage(Stage):
    """One stretch of training."""

    thumbnails: int = 0  # of the batch
    crowded: bool = False  # digits in most cells, or as few as in the pictures asked about


@dataclass(frozen=True)
class TowerRecipe:
    """Everything that determines the tower, besides the seed."""

    hidden_size: int = 64
    intermediate_size: int = 128
    depth: int = 4
    heads: int = 4
    initializer_range: float = 0.1
    batch_size: int = 32
    occupied: float = 0.7  # chance that a cell of a crowd holds a digit
    presence_share: float = 0.5  # weight of the class token's loss beside the patches'
    optimiser: Optimiser = field(default_factory=Optimiser)
    warp: Warp = field(
        default_factory=lambda: Warp(rotation=0.2, log_scale=0.1, shear=0.15, shift=0.4, ink=0.3)
    )
    stages: tuple[TowerStage, ...] = (
        TowerStage("crowds", steps=700, lr=2e-3, warmup=60, thumbnails=0, crowded=True),
        TowerStage("tower", steps=250, lr=1.4e-3, warmup=15, thumbnails=8, decay=True),
    )


def config(recipe: TowerRecipe) -> CLIPVisionConfig:
    """Of the tower: 32x32 RGB, 64 patches and a class token."""
    return CLIPVisionConfig(
        image_size=SIDE,
        patch_size=PATCH,
        hidden_size=recipe.hidden_size,
        intermediate_size=recipe.intermediate_size,
        num_hidden_layers=recipe.depth,
        num_attention_heads=recipe.heads,
        projection_dim=recipe.hidden_size,
        initializer_range=recipe.initializer_range,
    )


def train(
    tower: CLIPVisionModel,
    rng: np.random.Generator,
    recipe: TowerRecipe,
    name: str,
    progress: Progress,
    budget: float,
) -> list[Trace]:
    """Train the tower in place."""
    heads = _Heads(recipe.hidden_size)
    return fit(
        name,
        recipe.stages,
        lambda stage: _loss(tower, heads, rng, recipe, stage),
        [*tower.parameters(), *heads.parameters()],
        recipe.optimiser,
        progress,
        budget,
    )


@torch.no_grad()
def features(tower: CLIPVisionModel, pixels_BCSS: Floats) -> Tensor:
    """What LLaVA projects, of any number of images: [B, N, D]."""
    parts = torch.split(torch.from_numpy(pixels_BCSS), 64)
    seen = [tower(part, output_hidden_states=True).hidden_states[SELECTED] for part in parts]
    return torch.cat(seen)[:, 1:].contiguous()


class _Heads(nn.Module):
    """Linear readers of patch tokens and of the class token, at two depths."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.patches = nn.Linear(hidden_size, sum(_CLASSES))
        self.presence = nn.ModuleList(nn.Linear(hidden_size, NO_DIGIT + SLOTS) for _ in range(2))


def _loss(
    tower: CLIPVisionModel,
    heads: _Heads,
    rng: np.random.Generator,
    recipe: TowerRecipe,
    stage: TowerStage,
) -> tuple[Tensor, float]:
    """Loss, and the share of patch tokens of digits that name the digit."""
    pixels, digits_BN, colours_BN = _batch(rng, recipe, stage)
    output = tower(pixels, output_hidden_states=True)
    selected_BMD = output.hidden_states[SELECTED]
    targets = (digits_BN, colours_BN, *_places(len(pixels)))
    logits = heads.patches(selected_BMD[:, 1:]).split(_CLASSES, dim=-1)
    losses = [
        functional.cross_entropy(logits_BNK.flatten(0, 1), target_BN.flatten())
        for logits_BNK, target_BN in zip(logits, targets, strict=True)
    ]
    present_BK = torch.cat([_present(digits_BN, NO_DIGIT), _present(colours_BN, NO_COLOUR)], dim=1)
    for head, state_BD in zip(
        heads.presence, (selected_BMD[:, 0], output.pooler_output), strict=True
    ):
        named = functional.binary_cross_entropy_with_logits(head(state_BD), present_BK)
        losses.append(recipe.presence_share * named)
    correct = (logits[0].argmax(-1) == digits_BN)[digits_BN != NO_DIGIT].float().mean()
    return torch.stack(losses).sum(), correct.item()


def _batch(
    rng: np.random.Generator, recipe: TowerRecipe, stage: TowerStage
) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels [B, 3, S, S], and digit and colour of every patch token [B, N] each."""
    near = _drawn(rng, recipe, stage, LATTICE, recipe.batch_size - stage.thumbnails)
    far = _drawn(rng, recipe, stage, 2 * LATTICE, stage.thumbnails)
    pixels = np.concatenate([near.pixels, mosaics.halved(far.pixels)])
    digits = np.concatenate([per_token(near.digits), far.digits])
    colours = np.concatenate([per_token(near.colours), far.colours])
    return torch.from_numpy(pixels), torch.from_numpy(digits), torch.from_numpy(colours)


@dataclass(frozen=True)
class _Drawn:
    pixels: Floats  # [B, 3, S, S]
    digits: Ints  # [B, L * L]
    colours: Ints


def _drawn(
    rng: np.random.Generator, recipe: TowerRecipe, stage: TowerStage, lattice: int, count: int
) -> _Drawn:
    if stage.crowded:
        objects = mosaics.crowd(rng, "train", lattice, count, recipe.occupied, recipe.warp)
    else:
        sizes = rng.integers(0, SLOTS + 1, count)
        objects = mosaics.scatter(rng, "train", lattice, sizes, recipe.warp)
    pixels = mosaics.pictures(rng, "train", objects, lattice, recipe.warp)
    return _Drawn(pixels, *mosaics.labels_of(objects, lattice))


def per_token(cells_BC: Ints) -> Ints:
    """Labels of 4x4 cells to labels of their 2x2 patch tokens: [B, N]."""
    times = GRID // LATTICE
    grid = cells_BC.reshape(-1, LATTICE, LATTICE).repeat(times, axis=1).repeat(times, axis=2)
    tokens: Ints = grid.reshape(len(cells_BC), -1)
    return tokens


def _places(count: int) -> tuple[Tensor, Tensor]:
    """Row and column, in cells, of every patch token: [B, N] each."""
    cell = torch.arange(GRID) // (GRID // LATTICE)
    rows, columns = torch.meshgrid(cell, cell, indexing="ij")
    return rows.flatten().expand(count, -1), columns.flatten().expand(count, -1)


def _present(labels_BN: Tensor, classes: int) -> Tensor:
    """Whether each class occurs: float [B, K]."""
    return functional.one_hot(labels_BN, classes + 1).amax(1)[:, :classes].float()
