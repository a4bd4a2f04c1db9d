"""Knorm: keep the entries whose keys have the smallest norm.

"A Simple and Effective L2 Norm-Based Strategy for KV Cache Compression" (arXiv:2406.11430).
Official code: github.com/alessiodevoto/l2compress (``cache.py``). In large pretrained decoders,
keys of low norm are the ones that later queries attend to; a model without that property (small
ones need not have it) loses at once with this method. Rotary embedding leaves norms as they are.

The literature knows it under two names that differ in the schedule alone, so that they are one
method here. With the paper's own schedule (its home: the first two layers stay whole) it is the
paper's "L2 norm"; with ``uniform`` it is the Knorm of NVIDIA/kvpress, which cuts every layer. Two
layers are little of a large decoder and much of a small one: compare by the bytes measured.

Where we differ: kept entries stay in their original order; the official code sorts them by norm,
which no attention can tell.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from methods.base import Paper, ScoringMethod
from methods.contexts import CacheContext
from methods.schedule import OneLayer, Schedule


class Knorm(ScoringMethod[CacheContext]):
    """Keep the entries whose keys have the smallest norm."""

    paper: ClassVar[Paper | None] = Paper(
        title="A Simple and Effective L2 Norm-Based Strategy for KV Cache Compression",
        arxiv="2406.11430",
        code="https://github.com/alessiodevoto/l2compress",
    )
    home: ClassVar[Schedule] = OneLayer(layer=2)

    def score(self, ctx: CacheContext) -> Tensor:
        """Minus the Euclidean norm of the key."""
        norms_BN: Tensor = torch.linalg.vector_norm(ctx.keys_BND.float(), dim=-1)
        return -norms_BN
