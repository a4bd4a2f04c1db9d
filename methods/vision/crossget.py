"""CrossGET's Complete-Graph Soft Matching: any token may merge into any other.

"CrossGET: Cross-Guided Ensemble of Tokens for Accelerating Vision-Language Transformers"
(arXiv:2305.17455). Official code: github.com/sdc17/CrossGET (``CLIP/clip/reducer.py``). Tokens are
sorted by the cosine to their most similar neighbour. A token may point only at tokens behind it in
that order, so that the R tokens with the best remaining cosine can all be merged without waiting
for each other; each is merged into its most similar token among those that are not merged
themselves, weighted by size. Unlike ToMe's bipartite matching, two similar tokens can always find
each other.

Where we differ:

- The cross-guided half of the paper is left out: there, learnt cross tokens aligned to the other
  modality decide which tokens matter and how they are weighted. The official code without them (all
  importances equal) is what runs here.
- A cut of more than half of the tokens repeats the matching on the merged tokens with the same
  block's keys; the official code caps R at half of the tokens per block.
- Equal similarities are settled for the earlier token; the official sort is unstable.

As in the official code, cosines are between the keys of all heads side by side, later blocks add
log(size) to attention logits, and survivors stay in their original order.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from methods.base import Paper
from methods.contexts import VisionContext
from methods.transform import rows_of
from methods.vision._rounds import Round, RoundMerging, merge_into_survivors


class CrossGET(RoundMerging):
    """Complete-Graph Soft Matching; looks at keys only."""

    paper: ClassVar[Paper | None] = Paper(
        title="CrossGET: Cross-Guided Ensemble of Tokens for Accelerating Vision-Language "
        "Transformers",
        arxiv="2305.17455",
        code="https://github.com/sdc17/CrossGET",
        catalogue="crossget",
    )

    def features(self, ctx: VisionContext) -> Tensor:
        """The keys of all heads side by side."""
        return ctx.keys_BHND.transpose(1, 2).flatten(2).float()

    def match(self, ctx: VisionContext, now: Round) -> Tensor:  # noqa: ARG002
        """Complete-graph soft matching."""
        return complete_graph_soft_matching(now.cosines(), now.num_remove)


def complete_graph_soft_matching(cosines_BMM: Tensor, num_remove: int) -> Tensor:
    """Output row of every token after ``num_remove`` of them were merged, [B, M]."""
    to_others_BMM = cosines_BMM.diagonal_scatter(
        cosines_BMM.new_full(cosines_BMM.shape[:2], -torch.inf), dim1=1, dim2=2
    )
    sources_BR = _sources(to_others_BMM, num_remove)
    from_sources_BRM = rows_of(to_others_BMM, sources_BR)
    from_sources_BRM.scatter_(2, sources_BR[:, None].expand(-1, num_remove, -1), -torch.inf)
    return merge_into_survivors(sources_BR, from_sources_BRM.argmax(2), cosines_BMM.shape[1])


def _sources(to_others_BMM: Tensor, num_remove: int) -> Tensor:
    """The tokens with the best cosine to a token behind them in the order of best cosines."""
    order_BM = to_others_BMM.amax(2).argsort(dim=1, descending=True, stable=True)
    # A comparison of floats is much faster than one of longs, and counts are exact in both.
    rank_BM = order_BM.argsort(1).float()
    behind_BMM = rank_BM[:, None, :] > rank_BM[:, :, None]
    best_behind_BM = to_others_BMM.where(behind_BMM, -torch.inf).amax(2)
    return best_behind_BM.argsort(dim=1, descending=True, stable=True)[:, :num_remove]
