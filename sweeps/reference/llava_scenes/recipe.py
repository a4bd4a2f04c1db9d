"""Trains the `llava-scenes` backbone from scratch: a small LLaVA that answers about pictures.

First the vision tower (see :mod:`sweeps.reference.tower`), which is then frozen; then projector and
language model on packed questions (see :mod:`sweeps.reference.llava`): *one* asks about single
pictures, *mixture* and *settle* also about four pictures, of which one has to be named, and about
crops. All visual tokens are read, always: a model trained on fewer would favour methods that keep
such.

Where the numbers come from: the tower's recipe follows `vit-digits`; packing, `initializer_range`
0.1 and the learning rate broke a plateau at half of the answers in a first version.

Shapes: B sequences, I images, N = 64 tokens of an image, D width, P pooled pictures.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from sweeps.data import dialogues, wording
from sweeps.data.dialogues import ASKERS, KINDS, NAMES, Asker, Kind, Seen
from sweeps.data.scenes import Ints
from sweeps.data.streams import Split
from sweeps.data.wording import Turn
from sweeps.reference import llava, tower, training
from sweeps.reference.llava import Trainee
from sweeps.reference.tower import TowerRecipe
from sweeps.reference.training import Optimiser, Progress, fit, report, reproducible

EVALUATED: Final = 512  # dialogues of each kind behind each reported accuracy

SHOWN: Final[tuple[Kind, ...]] = ("single", "several", "anyres")
"""What a sequence shows; `detail` and `two-turn` are other questions about single pictures."""
TAUGHT: Final[dict[Kind, tuple[Asker, ...]]] = {
    "single": (*ASKERS["single"], *ASKERS["detail"], dialogues.in_any_cell),
    "several": ASKERS["several"],
    "anyres": ASKERS["anyres"],
}


@dataclass(frozen=True)
class Stage(training.Stage):
    """One stretch of training."""

    shares: tuple[float, float, float] = (1.0, 0.0, 0.0)  # of steps that show each of `SHOWN`
    batch_size: int = 32
    questions: int = 12  # in a sequence


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the weights, besides the seed."""

    tower: TowerRecipe = field(default_factory=TowerRecipe)
    hidden_size: int = 64
    depth: int = 4
    heads: int = 4
    initializer_range: float = 0.1
    single: int = 2048  # pictures whose features are computed once
    several: int = 2048  # sparser ones, shown by fours
    anyres: int = 512  # shown in crops
    optimiser: Optimiser = field(default_factory=Optimiser)
    stages: tuple[Stage, ...] = (
        Stage("one", steps=450, lr=2e-3, warmup=60),
        Stage("mixture", steps=700, lr=2e-3, warmup=15, shares=(0.2, 0.5, 0.3), batch_size=12),
        Stage(
            "settle",
            steps=350,
            lr=2e-3,
            warmup=1,
            decay=True,
            shares=(0.25, 0.45, 0.3),
            batch_size=12,
        ),
    )


RECIPE: Final = Recipe()


@dataclass(frozen=True)
class _Pool:
    """Pictures as the frozen tower sees them."""

    features: Tensor  # [P, I, N, D]
    seen: list[Seen]


def train(seed: int, out: Path, progress: Progress, budget: float = 1.0) -> dict[str, float]:
    """Train from scratch on one thread, save a Hugging Face directory to `out`, measure it.

    `budget` scales the number of steps of every stage. Returns `validation` and `test`, the shares
    of right last answers of the saved model, 0..1, averaged over the five kinds of dialogue, and
    `loss_first` and `loss_last`, the means over the first and last tenth of the last stage.
    """
    with reproducible(seed):
        text = llava.text_config(
            RECIPE.hidden_size, RECIPE.depth, RECIPE.heads, RECIPE.initializer_range
        )
        model = LlavaForConditionalGeneration(llava.config(RECIPE.tower, text)).train()
        name = f"llava-scenes seed {seed}"
        drawing, rng = (np.random.default_rng((seed, part)) for part in (1, 2))
        tower.train(model.model.vision_tower, drawing, RECIPE.tower, name, progress, budget)
        pools = _pools(model, rng, RECIPE)
        trainee = Trainee(model)
        traces = fit(
            name,
            RECIPE.stages,
            lambda stage: _loss(trainee, rng, pools, stage),
            trainee.learning(),
            RECIPE.optimiser,
            progress,
            budget,
        )
        return report(
            model, out, traces[-1:], lambda saved, split: accuracy(saved, split, EVALUATED)
        )


def _pools(
    model: LlavaForConditionalGeneration, rng: np.random.Generator, recipe: Recipe
) -> dict[Kind, _Pool]:
    sizes: dict[Kind, int] = {
        "single": recipe.single,
        "several": recipe.several // len(wording.PICTURES),
        "anyres": recipe.anyres,
    }
    return {kind: _pool(model, rng, recipe, kind, sizes[kind]) for kind in SHOWN}


def _pool(
    model: LlavaForConditionalGeneration,
    rng: np.random.Generator,
    recipe: Recipe,
    kind: Kind,
    count: int,
) -> _Pool:
    """Pictures of the groups that are drawn; groups are made anew at every step."""
    pixels, groups = dialogues.draw(rng, "train", kind, count, recipe.tower.warp)
    flat = tower.features(model.model.vision_tower, pixels.reshape(-1, *pixels.shape[2:]))
    seen = [shown for group in groups for shown in group]
    return _Pool(flat.view(len(seen), -1, *flat.shape[1:]), seen)


def _loss(
    trainee: Trainee,
    rng: np.random.Generator,
    pools: dict[Kind, _Pool],
    stage: Stage,
) -> tuple[Tensor, float]:
    kind = SHOWN[rng.choice(len(SHOWN), p=stage.shares)]
    pool = pools[kind]
    shown = len(wording.PICTURES) if kind == "several" else 1
    chosen_BS = rng.integers(0, len(pool.seen), (stage.batch_size, shown))
    turns = [_asked(rng, pool, kind, row_S, stage.questions) for row_S in chosen_BS]
    features_BIND = pool.features[torch.from_numpy(chosen_BS)].flatten(1, 2)
    return trainee.loss(features_BIND, NAMES[kind], turns)


def _asked(
    rng: np.random.Generator, pool: _Pool, kind: Kind, row_S: Ints, count: int
) -> list[Turn]:
    """Questions about the chosen pictures; where there is nothing to ask, others are chosen."""
    while not (turns := dialogues.ask(rng, TAUGHT[kind], [pool.seen[at] for at in row_S], count)):
        row_S[:] = rng.integers(0, len(pool.seen), len(row_S))
    return turns


def accuracy(model: LlavaForConditionalGeneration, split: Split, count: int) -> float:
    """Share of right last answers, 0..1, averaged over kinds; `count` dialogues of each."""
    return float(np.mean([accuracy_of(model, kind, split, count) for kind in KINDS]))


def accuracy_of(
    model: LlavaForConditionalGeneration, kind: Kind, split: Split, count: int
) -> float:
    """Share of right last answers, 0..1, in a split's fixed stream of one kind."""
    right_BQ = llava.right_answers(model, dialogues.stream(split, kind, count))
    return right_BQ[:, -1].float().mean().item()
