"""MCTF: fuse tokens that are similar, uninformative and small, as the next block will see them.

"Multi-criteria Token Fusion with One-step-ahead Attention for Efficient Vision Transformers"
(arXiv:2403.10030). Official code: github.com/mlvlab/MCTF (``utils/mctf.py``,
``models/modules/blocks.py``). Tokens are split alternately into A and B. A pair's attraction is

    ((1 + cos) / 2)^(1/t_sim)  *  (1 / (a_i a_j))^(1/t_info)  *  (1 / (s_i s_j))^(1/t_size)

with a the attention that a token receives in the *next* block, averaged over heads and queries, and
s its size. Bidirectional matching: half of the R fusions go from A to B, the other half from B to
what is left of A. A fused token is the average of its parts weighted by attention times size.

Where we differ:

- The cut is between attention and MLP, so the next block's attention is computed on states that
  have not been through this block's MLP yet. The official code cuts between blocks.
- The attention computed ahead decides what is fused and is then computed anew for the fused tokens
  ("precise" in the official code). The paper saves that by fusing the attention matrix instead.
- In the last block, which has no next one, all tokens count as equally informative.
- A token that was fused before in the same block received what its parts received together.
- A cut of more than half of the tokens repeats the matching on the fused tokens; the official code
  caps R at half of the tokens per block and never goes below ten tokens.
- Equal attractions are settled for the earlier token.

As in the official code, similarity is taken between hidden states, tokens of A come before those of
B, and later blocks add log(size) to attention logits. Fine-tuning with token reduction consistency,
which the paper's gains in accuracy come from, is left out.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize

from methods.base import Paper
from methods.contexts import VisionContext
from methods.vision._rounds import Round, RoundMerging, ranks_among

LEAST = 1e-12
"""Attention that a token without any is taken to receive."""


class MCTF(RoundMerging):
    """Bidirectional matching by similarity, informativeness and size."""

    paper: ClassVar[Paper | None] = Paper(
        title="Multi-criteria Token Fusion with One-step-ahead Attention for Efficient Vision "
        "Transformers",
        arxiv="2403.10030",
        code="https://github.com/mlvlab/MCTF",
        catalogue="mctf",
    )
    needs_next_attention: ClassVar[bool] = True

    tau_similarity: float = Field(
        default=1.0, gt=0, description="Temperature of similarity; larger means it matters less."
    )
    tau_information: float = Field(
        default=20.0, gt=0, description="Temperature of informativeness; larger means less."
    )
    tau_size: float = Field(
        default=40.0, gt=0, description="Temperature of size; larger means it matters less."
    )

    def features(self, ctx: VisionContext) -> Tensor:
        """The hidden states."""
        return ctx.hidden_BND.float()

    def weights(self, ctx: VisionContext) -> Tensor:
        """Attention received in the next block times size."""
        return received_ahead(ctx) * ctx.sizes_BN

    def match(self, ctx: VisionContext, now: Round) -> Tensor:
        """Bidirectional soft matching by attraction."""
        attention_BM = now.total(received_ahead(ctx))
        attraction_BST = self.attraction(now.features_BMD, attention_BM, now.sizes_BM)
        return bidirectional_matching(attraction_BST, now.num_remove)

    def attraction(self, features_BMD: Tensor, attention_BM: Tensor, sizes_BM: Tensor) -> Tensor:
        """Of every token of A (even positions) to every token of B (odd), [B, S, T], 0 to 1.

        Attention and size count relative to the least of all tokens, which keeps the order.
        """
        directions_BMD = normalize(features_BMD, dim=-1)
        cosines_BST = directions_BMD[:, ::2] @ directions_BMD[:, 1::2].mT
        similar_BST = ((1 + cosines_BST) / 2).clamp(0, 1) ** (1 / self.tau_similarity)
        return (
            similar_BST
            * _pairs(attention_BM) ** (1 / self.tau_information)
            * _pairs(sizes_BM) ** (1 / self.tau_size)
        )


def received_ahead(ctx: VisionContext) -> Tensor:
    """Attention that patches receive in the next block, mean over heads and queries, [B, N]."""
    if ctx.next_attention_BHMM is None:
        return torch.ones_like(ctx.sizes_BN)
    attention_BM = ctx.next_attention_BHMM.float().mean((1, 2))
    num_protected = attention_BM.shape[1] - ctx.num_in
    return attention_BM[:, num_protected:].clamp_min(LEAST)


def bidirectional_matching(attraction_BST: Tensor, num_remove: int) -> Tensor:
    """Output row of every token, long [B, S + T]; what is left of A comes first, then B."""
    num_sources = num_remove // 2
    a_to_b_BST = attraction_BST
    sources_BR, partners_BR = _best(a_to_b_BST, num_sources)
    gone_BS = torch.zeros_like(a_to_b_BST[..., 0], dtype=torch.bool).scatter(1, sources_BR, True)
    b_to_a_BTS = a_to_b_BST.mT.masked_fill(gone_BS[:, None], -torch.inf)
    back_sources_BR, back_partners_BR = _best(b_to_a_BTS, num_remove - num_sources)

    back_BT = torch.zeros_like(b_to_a_BTS[..., 0], dtype=torch.bool)
    back_BT = back_BT.scatter(1, back_sources_BR, True)
    rows_a_BS = ranks_among(~gone_BS)
    rows_b_BT = rows_a_BS.shape[1] - num_sources + ranks_among(~back_BT)
    rows_b_BT = rows_b_BT.scatter(1, back_sources_BR, rows_a_BS.gather(1, back_partners_BR))
    rows_a_BS = rows_a_BS.scatter(1, sources_BR, rows_b_BT.gather(1, partners_BR))
    rows_BM = rows_a_BS.new_empty(rows_a_BS.shape[0], rows_a_BS.shape[1] + rows_b_BT.shape[1])
    rows_BM[:, ::2], rows_BM[:, 1::2] = rows_a_BS, rows_b_BT
    return rows_BM


def _pairs(x_BM: Tensor) -> Tensor:
    """(least / x_i) (least / x_j) for all i in A and j in B, in (0, 1]."""
    inverse_BM = x_BM.amin(1, keepdim=True) / x_BM
    return inverse_BM[:, ::2, None] * inverse_BM[:, None, 1::2]


def _best(attraction_BST: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """The ``num`` tokens that are attracted most, and the partner of each, long [B, num]."""
    strength_BS, partner_BS = attraction_BST.max(-1)
    sources_BR = strength_BS.argsort(dim=1, descending=True, stable=True)[:, :num]
    return sources_BR, partner_BS.gather(1, sources_BR)
