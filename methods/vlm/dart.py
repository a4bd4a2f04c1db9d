"""DART: a few pivots, and the tokens that duplicate them least.

"Stop Looking for Important Tokens in Multimodal Language Models: Duplication Matters More"
(arXiv:2502.11494), algorithm 1. Before language layer 2, the visual tokens and the question's
tokens with the largest L1 norm of their keys are pivots, four of each. For one pivot after another,
the visual tokens with the lowest cosine similarity to it (hidden states) are retained, an equal
share for every pivot; the visual pivots are retained themselves. Official code:
github.com/ZichenWen1/DART (not at hand; its selection was read in LLMC+'s toolkit,
github.com/ModelTC/LightCompress, and in copies of it).

Where we differ:

- The official count is a multiple of the number of pivots; here the first pivots retain one token
  more each, so that the budget is met. A small budget has visual pivots for at most half of it
  (rounded up).
- Pivots take turns in the order of their positions, visual ones first. The official code iterates
  over a set of indices, for which Python promises no order.
- The question's pivots have the largest L1 norm of their hidden states, whose keys no context has.
  At the doorstep, where there are no keys at all, visual pivots are found in the same way. The
  paper finds that the choice of pivots hardly matters.
- Hidden states are compared as they are, the official code compares them after the final norm.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cosine_similarity

from methods.base import Paper, TokenMethod, top_indices
from methods.contexts import VisualContext
from methods.schedule import OneLayer, Schedule
from methods.transform import TokenTransform
from methods.vlm._selection import indices_of


class DART(TokenMethod[VisualContext]):
    """Prunes to pivots and the tokens least similar to them."""

    paper: ClassVar[Paper | None] = Paper(
        title="Stop Looking for Important Tokens in Multimodal Language Models: Duplication "
        "Matters More",
        arxiv="2502.11494",
        code="https://github.com/ZichenWen1/DART",
    )
    home: ClassVar[Schedule] = OneLayer(layer=2)

    visual_pivots: int = Field(default=4, ge=1, description="Visual tokens that are pivots.")
    text_pivots: int = Field(
        default=4, ge=0, description="Tokens of the question that are pivots, if it has so many."
    )

    def transform(self, ctx: VisualContext) -> TokenTransform:
        """Prune to pivots and what each of them retains, in the original order."""
        hidden_BND = ctx.hidden_BND.float()
        own_BP = top_indices(_norms(ctx), min(self.visual_pivots, (ctx.num_keep + 1) // 2))
        own_BPD = hidden_BND.gather(1, own_BP[..., None].expand(-1, -1, hidden_BND.shape[2]))
        pivots_BPD = torch.cat([own_BPD, self._question_pivots(ctx)], 1)

        retained_BN = torch.zeros_like(ctx.origin_BN, dtype=torch.bool).scatter(1, own_BP, True)
        shares = _equal_shares(ctx.num_keep - own_BP.shape[1], pivots_BPD.shape[1])
        for pivot_BD, share in zip(pivots_BPD.unbind(1), shares, strict=True):
            distances_BN = -cosine_similarity(hidden_BND, pivot_BD[:, None], dim=-1)
            fresh_BN = distances_BN.masked_fill(retained_BN, -torch.inf)
            retained_BN = retained_BN.scatter(1, top_indices(fresh_BN, share), True)
        return TokenTransform.keep(indices_of(retained_BN, ctx.num_keep), ctx.num_in)

    def _question_pivots(self, ctx: VisualContext) -> Tensor:
        question_BQD = ctx.text_BQD[:, ctx.question_Q].float()
        count = min(self.text_pivots, question_BQD.shape[1])
        index_BP = top_indices(question_BQD.abs().sum(-1), count)
        return question_BQD.gather(1, index_BP[..., None].expand(-1, -1, question_BQD.shape[2]))


def _norms(ctx: VisualContext) -> Tensor:
    """L1 norm of the keys of all heads or, where there are none, of the tokens, [B, N]."""
    if ctx.keys_BHND is None:
        return ctx.hidden_BND.float().abs().sum(-1)
    return ctx.keys_BHND.float().abs().sum((1, 3))


def _equal_shares(total: int, count: int) -> list[int]:
    return [total // count + (place < total % count) for place in range(count)]
