"""ToMe: merge the most similar tokens by bipartite soft matching.

"Token Merging: Your ViT But Faster" (arXiv:2210.09461). Official code:
github.com/facebookresearch/ToMe (``tome/merge.py``, ``tome/patch/timm.py``). Tokens are split
alternately into A and B; each token of A proposes its most similar token of B (cosine of the
block's keys, averaged over heads); the R best proposals are merged, by averages weighted by size;
later blocks add log(size) to attention logits (eq. 1).

Where we differ:

- Protected tokens are held aside before the split. The official code leaves the class token in A
  with similarity minus infinity, so that its patches alternate the other way round: B starts with
  patch 0 there and with patch 1 here.
- A cut of more than half of the tokens repeats the matching on the merged tokens with the same
  block's keys; the official code caps R at half of the tokens per block.
- Equal similarities are settled for the earlier token; the official sort is unstable.

As in the official code, unmerged tokens of A come first and B follows, which is the order that the
next block's split alternates over.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize

from methods.base import Method, Paper, VisionContext
from methods.transform import TokenTransform
from methods.vision._rounds import merge_in_rounds, ranks_among


class ToMe(Method[VisionContext]):
    """Token merging with proportional attention."""

    paper: ClassVar[Paper | None] = Paper(
        title="Token Merging: Your ViT But Faster",
        arxiv="2210.09461",
        code="https://github.com/facebookresearch/ToMe",
    )
    proportional_attention: ClassVar[bool] = True

    round_share: float = Field(
        default=0.5,
        gt=0,
        le=0.5,
        description="Largest share of tokens that one round of matching removes; deeper cuts take "
        "several rounds. The paper's value is 0.5.",
    )

    def transform(self, ctx: VisionContext) -> TokenTransform:
        """Merge by bipartite soft matching, in rounds."""
        return merge_in_rounds(ctx, bipartite_soft_matching, self.round_share)


def bipartite_soft_matching(features_BMD: Tensor, num_remove: int) -> Tensor:
    """Output row of every token after ``num_remove`` tokens of A were merged into B, [B, M].

    A is every even position, B every odd one. Rows: the unmerged tokens of A in order, then B.
    """
    directions_BMD = normalize(features_BMD, dim=-1)
    a_BSD, b_BTD = directions_BMD[:, ::2], directions_BMD[:, 1::2]
    similarity_BS, partner_BS = (a_BSD @ b_BTD.transpose(1, 2)).max(-1)
    best_BR = similarity_BS.argsort(dim=1, descending=True, stable=True)[:, :num_remove]
    merged_BS = torch.zeros_like(similarity_BS, dtype=torch.bool).scatter(1, best_BR, True)

    first_b_row = a_BSD.shape[1] - num_remove
    rows_BM = torch.empty(features_BMD.shape[:2], dtype=torch.long, device=features_BMD.device)
    rows_BM[:, ::2] = torch.where(merged_BS, first_b_row + partner_BS, ranks_among(~merged_BS))
    rows_BM[:, 1::2] = first_b_row + torch.arange(b_BTD.shape[1], device=features_BMD.device)
    return rows_BM
