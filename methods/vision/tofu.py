"""ToFu: prune in the early layers, merge without losing length in the later ones.

"Token Fusion: Bridging the Gap between Token Pruning and Token Merging" (arXiv:2312.01026). No code
was published; github.com/hchautran/PiToMe (``algo/tofu``) implements it as a baseline. Tokens are
matched as in ToMe (arXiv:2210.09461). Where the model is far from linear in its input, in early
layers, an average of two tokens means nothing to it, and the matched token of A is dropped; later
it is merged by MLERP: the tokens' average, scaled to the norm of the longest of them, because
averages are shorter than what they are made of and the model has never seen such norms.

Where we differ:

- Which tokens are matched, and that MLERP takes the largest norm, is read from the baseline's code.
- The paper tells the two regimes apart by measuring linearity; here ``pruned_depth`` says it, one
  half by default as in the baseline's code.
- W is convex and cannot scale. MLERP's factor travels beside it as the transform's ``gains``,
  computed from the hidden states that are merged.
- Averages are weighted by size and later blocks add log(size) to attention logits, as in ToMe.
- A cut of more than half of the tokens repeats the matching on the tokens left, with the same
  block's keys; MLERP is then applied to all parts of a token at once.
- Pruning leaves the tokens in their original order, so that their parity, which decides between A
  and B in the next block, can differ from that after a merge.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from methods.base import Paper
from methods.contexts import VisionContext
from methods.transform import TokenTransform
from methods.vision._rounds import (
    Round,
    RoundMerging,
    bipartite_matching,
    removed_in_round,
)


class ToFu(RoundMerging):
    """Bipartite matching that prunes first and merges by MLERP later."""

    paper: ClassVar[Paper | None] = Paper(
        title="Token Fusion: Bridging the Gap between Token Pruning and Token Merging",
        arxiv="2312.01026",
    )

    pruned_depth: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Share of the layers, from the first, in which matched tokens are pruned "
        "instead of merged.",
    )

    def match(self, ctx: VisionContext, now: Round) -> Tensor:  # noqa: ARG002
        """Bipartite soft matching, ToMe's."""
        return bipartite_matching(now.features_BMD, now.num_remove)

    def transform(self, ctx: VisionContext) -> TokenTransform:
        """Pruned or merged, by the layer's depth."""
        if ctx.layer < self.pruned_depth * ctx.num_layers:
            return self._pruned(ctx)
        merged = super().transform(ctx)
        return replace(merged, gains=mlerp_gains(merged, ctx.hidden_BND))

    def _pruned(self, ctx: VisionContext) -> TokenTransform:
        """Only the tokens that others would have been merged into, and the unmatched ones."""
        features_BMD = self.features(ctx)
        kept_BM = torch.arange(ctx.num_in, device=ctx.device).expand(ctx.batch, -1)
        while (num_tokens := kept_BM.shape[1]) > ctx.num_keep:
            num_remove = removed_in_round(num_tokens, ctx.num_keep, self.round_share)
            survives_BM = _survives(bipartite_matching(features_BMD, num_remove), num_remove)
            left_BM = survives_BM.nonzero()[:, 1].view(ctx.batch, -1)
            kept_BM = kept_BM.gather(1, left_BM)
            left_BMD = left_BM[..., None].expand(-1, -1, features_BMD.shape[2])
            features_BMD = features_BMD.gather(1, left_BMD)
        return TokenTransform.keep(kept_BM, ctx.num_in)


def mlerp_gains(merge: TokenTransform, hidden_BND: Tensor) -> Tensor:
    """The norm of each row's longest part over the norm of their average, [B, K].

    1 where the parts cancel out. For a merge with one entry per token, in the order of the tokens.
    """
    norms_BN: Tensor = hidden_BND.float().norm(dim=-1)
    longest_BK = norms_BN.new_zeros(merge.batch, merge.num_out)
    longest_BK = longest_BK.scatter_reduce(1, merge.rows, norms_BN, "amax")
    average_BK: Tensor = merge(hidden_BND.float()).norm(dim=-1)
    return (longest_BK / average_BK).where(average_BK > 1e-6 * longest_BK, 1.0)


def _survives(rows_BM: Tensor, num_remove: int) -> Tensor:
    """Tokens that are not merged into another; those of B have the last rows."""
    first_b_row = (rows_BM.shape[1] + 1) // 2 - num_remove
    in_b_M = torch.arange(rows_BM.shape[1], device=rows_BM.device) % 2 == 1
    return in_b_M | (rows_BM < first_b_row)
