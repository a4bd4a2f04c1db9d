"""Trains the `llama-text` backbone from scratch: a small Llama that reads source code as bytes.

First *echo*: short stretches of text, written twice; the second copy is best predicted by looking
it up in the first, which forms induction heads while the network learns which bytes follow which.
Then plain text, in windows that grow to somewhat more than the task's.

Shapes: B sequences, T tokens.
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
from transformers import LlamaConfig, LlamaForCausalLM

from sweeps.data import source_text
from sweeps.data.contexts import Ints
from sweeps.data.streams import Split
from sweeps.reference import llama, training
from sweeps.reference.training import Optimiser, Progress, fit, report, reproducible

EVALUATED: Final = 512  # windows of a split behind each reported quality
CONTEXT: Final = 512  # tokens before the bytes that are scored
CONTINUATION: Final = 64  # bytes


@dataclass(frozen=True, kw_only=True)
class Stage(training.Stage):
    """One stretch of training."""

    batch_size: int
    length: int  # tokens of a window
    copies: int = 1  # of the window's text


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the weights, besides the seed."""

    hidden_size: int = 128
    intermediate_size: int = 320
    depth: int = 3
    heads: int = 4
    kv_heads: int = 2
    max_position_embeddings: int = 2048
    initializer_range: float = 0.02
    optimiser: Optimiser = field(default_factory=lambda: Optimiser(weight_decay=0.05))
    stages: tuple[Stage, ...] = (
        Stage(name="echo", steps=250, lr=3e-3, warmup=50, batch_size=32, length=40, copies=2),
        Stage(name="text-160", steps=350, lr=3e-3, warmup=20, batch_size=20, length=160),
        Stage(name="text-640", steps=350, lr=2e-3, warmup=20, batch_size=5, length=640, decay=True),
    )


RECIPE: Final = Recipe()


def train(seed: int, out: Path, progress: Progress, budget: float = 1.0) -> dict[str, float]:
    """Train from scratch on one thread, save a Hugging Face directory to `out`, measure it.

    `budget` scales the number of steps of every stage. Returns `validation` and `test`, the bits
    per byte of the saved model (see :func:`bits_per_byte`), and `loss_first` and `loss_last`, the
    means over the first tenth of the first stage and the last tenth of the last, in nats.
    """
    with reproducible(seed):
        model = LlamaForCausalLM(_config(RECIPE)).train()
        rng = np.random.default_rng((seed, 1))
        traces = fit(
            f"llama-text seed {seed}",
            RECIPE.stages,
            lambda stage: _loss(model, _windows(rng, stage)),
            model.parameters(),
            RECIPE.optimiser,
            progress,
            budget,
        )
        return report(
            model, out, traces, lambda saved, split: bits_per_byte(saved, split, EVALUATED)
        )


def _config(recipe: Recipe) -> LlamaConfig:
    start = source_text.START
    return llama.config(recipe, source_text.VOCABULARY, bos_token_id=start, eos_token_id=start)


def _windows(rng: np.random.Generator, stage: Stage) -> Ints:
    """A start token and a window of text, as often as the stage says: [B, T]."""
    drawn = source_text.sample(rng, "train", stage.batch_size, stage.length)
    return np.concatenate([drawn[:, :1], *[drawn[:, 1:]] * stage.copies], axis=1)


def _loss(model: LlamaForCausalLM, tokens: Ints) -> tuple[Tensor, float]:
    """Cross-entropy per byte in nats, and the share of bytes that are right."""
    tokens_BT = torch.from_numpy(tokens)
    logits_BTV = model(tokens_BT).logits[:, :-1]
    correct = (logits_BTV.argmax(-1) == tokens_BT[:, 1:]).float().mean()
    return functional.cross_entropy(logits_BTV.flatten(0, 1), tokens_BT[:, 1:].flatten()), (
        correct.item()
    )


@torch.inference_mode()
def bits_per_byte(
    model: LlamaForCausalLM, split: Split, count: int, context_length: int = CONTEXT
) -> float:
    """Mean over a split's first windows of the bits that `CONTINUATION` bytes take at their end."""
    windows = source_text.stream(split, count, context_length + 1 + CONTINUATION)
    total = 0.0
    for part in torch.split(torch.from_numpy(windows), 16):
        logits_BQV = model(part).logits[:, -CONTINUATION - 1 : -1]
        target = part[:, -CONTINUATION:]
        total += functional.cross_entropy(
            logits_BQV.flatten(0, 1), target.flatten(), reduction="sum"
        ).item()
    return total / (count * CONTINUATION * math.log(2))
