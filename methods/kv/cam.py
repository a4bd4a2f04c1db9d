"""CaM: add the values of evicted entries to the values of the entries that follow them.

"CaM: Cache Merging for Memory-efficient LLMs Inference" (ICML 2024, proceedings.mlr.press/v235/
zhang24n.html; no arXiv number). Official code: github.com/zyxxmu/cam
(``cam_hf/utils_hh/modify_llama_cam.py``). Sinks and a recent window are kept, as by StreamingLLM.
When a token leaves the window, its value, divided by m, is added to the values of the m next
tokens, which pass on what they received when they leave in turn. It happens with probability
clamp(attention to the token / mean attention to the window, 0, 1), so that on average the value
counts as much as its token was attended to. Keys are pruned and never merged. Values add up instead
of being averaged: their weights are no convex combination, so that this is not a W.

Where we differ:

- The official code merges while it generates, by the query of the moment. Here the cut happens
  once, after the prompt; the window slides over the prompt, and the query of the moment is the
  prompt's own, after which the token leaves the window.
- With grouped queries, attention is averaged over the heads that share a cache.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from methods.base import Paper
from methods.contexts import CacheContext
from methods.kv._attention import logit_blocks
from methods.kv._base import MergesValues
from methods.kv.streaming_llm import StreamingLLM
from methods.transform import TokenTransform

BLOCK = 64
"""Entries whose passing on is one system of equations."""


class CaM(StreamingLLM, MergesValues):
    """Keep sinks and the latest entries, with the values of the others merged into them."""

    version: ClassVar[int] = 3
    paper: ClassVar[Paper | None] = Paper(
        title="CaM: Cache Merging for Memory-efficient LLMs Inference",
        code="https://github.com/zyxxmu/cam",
    )

    merge_budget: int = Field(
        default=32, ge=1, description="Entries that share an evicted value; at most the window."
    )

    def merged_values(self, ctx: CacheContext, transform: TokenTransform) -> Tensor:
        """Values of the kept entries with what was merged into them, [B, K, D]."""
        first = min(self.num_sinks, ctx.num_keep - 1)
        recent = ctx.num_keep - first
        width = min(self.merge_budget, recent)
        probability_BE = self._probabilities(ctx, first, recent)
        draws_BE = torch.rand(probability_BE.shape, generator=ctx.generator).to(ctx.device)
        shares_BE = (draws_BE < probability_BE).float() / width
        values_BND = ctx.values_BND.float().clone()
        pass_on(values_BND[:, first:], shares_BE, width)
        return transform(values_BND).to(ctx.values_BND.dtype)

    def _probabilities(self, ctx: CacheContext, first: int, recent: int) -> Tensor:
        """Of merging each evicted entry, [B, E], by the query that pushes it out of the window."""
        found = []
        for start, logits_BGRC in logit_blocks(ctx, ctx.queries_BGTD.shape[2] - first - recent):
            leaving = torch.arange(start - recent, start - recent + logits_BGRC.shape[2])
            leaving = leaving[leaving < ctx.num_in - recent].to(ctx.device)
            rows_BRC = logits_BGRC.softmax(-1).mean(1)[:, : len(leaving)]
            behind_RC = torch.arange(rows_BRC.shape[2], device=ctx.device) > leaving[:, None]
            window_BR = (rows_BRC * behind_RC).sum(-1) / recent
            own_BR = rows_BRC.gather(2, leaving.expand(ctx.batch, -1)[..., None])[..., 0]
            tiny = torch.finfo(torch.float32).tiny
            found.append((own_BR / window_BR.clamp_min(tiny)).clamp(max=1))
        return torch.cat(found, dim=1)


def pass_on(values_BND: Tensor, shares_BE: Tensor, width: int) -> None:
    """Let each of the first E entries add its share of itself to the ``width`` entries behind it.

    One entry after the other, so that each passes on what it received, in place. There are at least
    E + ``width`` entries. A block of them is one triangular system: what an entry is in the end is
    its own value and the shares of those before it, as they are in the end.
    """
    for start in range(0, shares_BE.shape[1], BLOCK):
        given_BTL = _given(shares_BE[:, start : start + BLOCK], width)
        size = given_BTL.shape[2]
        within_BLL, behind_BWL = given_BTL[:, :size], given_BTL[:, size:]
        leaving_BLD = values_BND[:, start : start + size]
        leaving_BLD.copy_(
            torch.linalg.solve_triangular(-within_BLL, leaving_BLD, upper=False, unitriangular=True)
        )
        values_BND[:, start + size : start + size + width] += behind_BWL @ leaving_BLD


def _given(shares_BL: Tensor, width: int) -> Tensor:
    """What part of entry l of a block goes to entry t of it or behind, [B, T, L]."""
    size = shares_BL.shape[1]
    places_T = torch.arange(size + width, device=shares_BL.device)
    steps_TL = places_T[:, None] - places_T[:size]
    return shares_BL[:, None] * ((steps_TL >= 1) & (steps_TL <= width))
