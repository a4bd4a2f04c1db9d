"""Trains the `llama-threads` backbone: a small Llama that follows chains of keys.

It starts from `llama-recall` of the same seed, which can already look up what stands behind a key,
and learns the rest of the task (:mod:`sweeps.data.threads`), with one to three hops and one to
eight needles: first in short contexts, then in a mixture of lengths, because a single length at the
end makes a network forget the others. The loss is on the tokens of the answers, with a small share
on filler so that the network also knows where it is.

A first version from scratch, with plainer questions, had 0.30 of the answers right after 330 CPU
seconds; from `llama-recall`, 0.7 of the answer tokens are right within 100 steps. That start
settled the form of questions as well: the look-ups of that network read what stands *after* a pair,
so that keys in a question have to be linked to ordinals in the way in which keys are linked in the
context.

Shapes: B sequences, T tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from sweeps.data import contexts, threads
from sweeps.data.streams import Split
from sweeps.models import location, open_reference
from sweeps.reference import llama, training
from sweeps.reference.training import Optimiser, Progress, fit, report, reproducible

EVALUATED: Final = 1024  # examples of a split behind each reported accuracy


@dataclass(frozen=True, kw_only=True)
class Stage(training.Stage):
    """One stretch of training."""

    tokens: int  # of the contexts of one batch together
    context_lengths: tuple[int, ...]  # one is drawn for every batch
    max_links: int  # in a context

    def batch_size(self, context_length: int) -> int:
        """Sequences in a batch."""
        return self.tokens // context_length


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the weights, besides the seed."""

    start: str = "llama-recall"  # reference backbone, of the same seed
    max_hops: int = 3
    needles: tuple[int, ...] = (1, 1, 2, 2, 3, 4, 6, 8)  # one is drawn for every batch
    filler_share: float = 0.1  # weight of the loss on filler
    optimiser: Optimiser = field(default_factory=lambda: Optimiser(weight_decay=0.01))
    stages: tuple[Stage, ...] = (
        Stage(
            name="threads-128",
            steps=250,
            lr=1e-3,
            warmup=20,
            tokens=3072,
            context_lengths=(64, 128),
            max_links=18,
        ),
        Stage(
            name="threads-512",
            steps=500,
            lr=1e-3,
            warmup=20,
            decay=True,
            tokens=3584,
            context_lengths=(64, 128, 256, 384, 512),
            max_links=36,
        ),
    )


RECIPE: Final = Recipe()


def train(seed: int, out: Path, progress: Progress, budget: float = 1.0) -> dict[str, float]:
    """Train on one thread, save a Hugging Face directory to `out`, measure it.

    `budget` scales the number of steps of every stage. Returns `validation` and `test`, the exact
    matches of the saved model in 0..1 at the task's defaults (256 tokens, 8 threads, 2 hops, one
    needle), and `loss_first` and `loss_last`, the means over the first tenth of the first stage
    and the last tenth of the last. Raises ValueError where the backbone to start from is missing.
    """
    start = open_reference(RECIPE.start, seed)
    with reproducible(seed):
        model = LlamaForCausalLM.from_pretrained(location(start.weights)).train()
        rng = np.random.default_rng((seed, 1))
        traces = fit(
            f"llama-threads seed {seed}",
            RECIPE.stages,
            lambda stage: _loss(model, rng, RECIPE, stage),
            model.parameters(),
            RECIPE.optimiser,
            progress,
            budget,
        )
        return report(model, out, traces, lambda saved, split: accuracy(saved, split, EVALUATED))


def _loss(
    model: LlamaForCausalLM, rng: np.random.Generator, recipe: Recipe, stage: Stage
) -> tuple[Tensor, float]:
    """Of a fresh batch, and the share of its answer tokens that are right."""
    tokens, asked = _questions(rng, recipe, stage)
    return llama.answer_loss(
        model, torch.from_numpy(tokens), torch.from_numpy(asked), recipe.filler_share
    )


def _questions(
    rng: np.random.Generator, recipe: Recipe, stage: Stage
) -> tuple[contexts.Ints, llama.Bools]:
    """A context, a question and its answer, which is asked: [B, T] each."""
    length = int(rng.choice(stage.context_lengths))
    hops = int(rng.integers(1, recipe.max_hops + 1))
    most = min(stage.max_links // hops, (length - 1) // (hops * threads.LINK_LENGTH))
    num_threads = int(rng.integers(2, most + 1))
    needles = min(num_threads, int(rng.choice(recipe.needles)))
    drawn = threads.compose(rng, stage.batch_size(length), length, num_threads, hops)
    question, answer = threads.ask(drawn.keys[:, :needles])
    tokens = np.concatenate([drawn.tokens, question, answer], axis=1)
    asked = np.zeros(tokens.shape, bool)
    asked[:, -answer.shape[1] :] = True
    return tokens, asked


def accuracy(
    model: LlamaForCausalLM,
    split: Split,
    count: int,
    context_length: int = 256,
    num_threads: int = 8,
    hops: int = 2,
    needles: int = 1,
) -> float:
    """Exact match in 0..1, decoded greedily, on the first examples of a split's fixed stream."""
    examples = threads.stream(split, count, context_length, num_threads, hops, needles)
    return llama.exact_match(model, examples)
