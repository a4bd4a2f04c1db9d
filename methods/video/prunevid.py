"""PruneVid: static places of a scene become one token each, then similar tokens are clustered.

"PruneVid: Visual Token Pruning for Efficient Video Large Language Models" (arXiv:2412.16117),
section 3.2, its spatial-temporal token merging; the question-guided selection behind it, a step
inside the language model, is not part of this. Official code: github.com/Visual-AI/PruneVid
(read in LLMC+'s toolkit, github.com/ModelTC/LightCompress, ``prunevid.py``).

- Temporal segments: frames (mean of their tokens) are clustered by DPC-KNN, clusters made
  contiguous. A video without two neighbouring frames in one cluster is a single segment.
- A place is static in a segment if its tokens resemble each other by more than ``similarity``
  (cosine, mean over pairs of frames, eq. 2 and 3); it becomes their average (eq. 4).
- The static tokens of every segment and the other tokens of every frame are clustered by DPC-KNN;
  a cluster becomes its average.

Where we differ:

- The official code clusters sets of more than 14 tokens to half their number. Here the number of
  clusters follows from the budget, which is divided among all sets in proportion to their tokens; a
  set whose share is below one token is pruned.
- Where averaging all static places would fall below the budget, only the most static are averaged.
- Equal densities are settled for the earlier token instead of by noise.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from methods.base import Paper, TokenMethod
from methods.contexts import VisualContext
from methods.transform import TokenTransform
from methods.video._frames import whole_frames
from methods.video._segments import clustered_segments
from methods.vlm._budgets import exact_budgets
from methods.vlm._density import peak_scores, token_distances
from methods.vlm._selection import ranks_within


class PruneVid(TokenMethod[VisualContext]):
    """Averages static places over time and clusters what is left in space."""

    paper: ClassVar[Paper | None] = Paper(
        title="PruneVid: Visual Token Pruning for Efficient Video Large Language Models",
        arxiv="2412.16117",
        code="https://github.com/Visual-AI/PruneVid",
    )

    similarity: float = Field(
        default=0.8, ge=-1, le=1, description="tau: above this mean cosine a place is static."
    )
    segment_share: float = Field(
        default=0.25, gt=0, le=1, description="Clusters of frames per frame (rounded down)."
    )
    num_neighbors: int = Field(
        default=7, ge=1, description="Neighbours that densities are taken from, itself included."
    )

    def transform(self, ctx: VisualContext) -> TokenTransform:
        """Static tokens of a segment first, then the others frame by frame."""
        frames_BFPD = whole_frames(ctx, self.id())
        num_clusters = max(int(frames_BFPD.shape[1] * self.segment_share), 1)
        segment_BF = clustered_segments(frames_BFPD.mean(2), num_clusters, self.num_neighbors)
        static_BFP = self.static(frames_BFPD, segment_BF, ctx.num_keep)
        first_BF, length_BF = _first_and_length(segment_BF)
        items_BFPD = _averaged(frames_BFPD, static_BFP, segment_BF)
        sets_BSP = _sets(static_BFP, first_BF)
        item_rows_BSP = self._rows(items_BFPD, sets_BSP, ctx.num_keep)
        return _combined(ctx, item_rows_BSP, static_BFP, first_BF, length_BF)

    def static(self, frames_BFPD: Tensor, segment_BF: Tensor, num_keep: int) -> Tensor:
        """Which tokens are averaged over their segment, bool [B, F, P]; ``num_keep`` are left."""
        similarity_BFP, saved_BF = _stillness(frames_BFPD, segment_BF)
        # One entry per segment and place: the others have nothing to save.
        entry_BN, saved_BN = similarity_BFP.flatten(1), _per_place(saved_BF, similarity_BFP)
        order_BN = entry_BN.where(saved_BN > 0, -torch.inf).argsort(
            dim=1, descending=True, stable=True
        )
        total_BN = saved_BN.gather(1, order_BN).cumsum(1)
        allowed_BN = total_BN <= entry_BN.shape[1] - num_keep
        chosen_BN = torch.zeros_like(allowed_BN).scatter(1, order_BN, allowed_BN)
        chosen_BN = chosen_BN & (entry_BN > self.similarity) & (saved_BN > 0)
        first_BF, _ = _first_and_length(segment_BF)
        chosen_BFP = chosen_BN.view_as(similarity_BFP)
        return chosen_BFP.gather(1, first_BF[..., None].expand_as(chosen_BFP))

    def _rows(self, items_BFPD: Tensor, sets_BSP: Tensor, num_keep: int) -> Tensor:
        """Output row of every member of the 2 F sets, -1 for others, long [B, S, P]."""
        counts_BS = sets_BSP.sum(2)
        budgets_BS = exact_budgets(counts_BS, counts_BS, num_keep)
        members_GP = sets_BSP.flatten(0, 1)
        distances_GPP = token_distances(items_BFPD.repeat(1, 2, 1, 1).flatten(0, 1))
        scores_GP = peak_scores(distances_GPP, members_GP, self.num_neighbors)
        centres_GP = _standing(scores_GP) < budgets_BS.flatten()[:, None]

        nearest_GP = distances_GPP.where(centres_GP[:, None], torch.inf).argmin(2)
        own_GP = torch.arange(members_GP.shape[1], device=members_GP.device)
        nearest_GP = nearest_GP.where(~centres_GP, own_GP)
        # Rows count the centres of all sets of an example, set by set.
        centres_BM = centres_GP.view(sets_BSP.shape[0], -1).long()
        centre_rows_GP = (centres_BM.cumsum(1) - centres_BM).view_as(members_GP)
        joins_GP = members_GP & centres_GP.any(1, keepdim=True)
        return centre_rows_GP.gather(1, nearest_GP).where(joins_GP, -1).view_as(sets_BSP)


def _standing(scores_GP: Tensor) -> Tensor:
    return ranks_within(scores_GP, torch.zeros_like(scores_GP, dtype=torch.long), 1)


def _first_and_length(segment_BF: Tensor) -> tuple[Tensor, Tensor]:
    """First frame and number of frames of every frame's segment, long [B, F] each."""
    together_BFF = segment_BF[:, :, None] == segment_BF[:, None]
    return together_BFF.long().argmax(2), together_BFF.sum(2)


def _stillness(frames_BFPD: Tensor, segment_BF: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cosine of each place's tokens within the segment, [B, F, P], and tokens that averaging
    one place would save, [B, F]: counted at the segment's first frame, 0 at the others."""
    directions_BFPD = normalize(frames_BFPD, dim=-1)
    together_BFF = (segment_BF[:, :, None] == segment_BF[:, None]).float()
    # The cosines of all pairs of a segment, each frame with itself included, are the squared sum.
    sums_BFPD = torch.einsum("bfg,bgpd->bfpd", together_BFF, directions_BFPD)
    lengths_BF = together_BFF.sum(2)
    own_BFP = torch.einsum("bfg,bgp->bfp", together_BFF, directions_BFPD.square().sum(-1))
    pairs_BF = lengths_BF * (lengths_BF - 1)
    means_BFP = (sums_BFPD.square().sum(-1) - own_BFP) / pairs_BF.clamp_min(1)[..., None]
    first_BF, _ = _first_and_length(segment_BF)
    is_first_BF = first_BF == torch.arange(segment_BF.shape[1], device=segment_BF.device)
    return means_BFP, (lengths_BF.long() - 1) * is_first_BF


def _per_place(x_BF: Tensor, like_BFP: Tensor) -> Tensor:
    return x_BF[..., None].expand_as(like_BFP).flatten(1)


def _averaged(frames_BFPD: Tensor, static_BFP: Tensor, segment_BF: Tensor) -> Tensor:
    """Tokens, static ones replaced by their segment's average, [B, F, P, D]."""
    together_BFF = one_hot(segment_BF, segment_BF.shape[1]).float()
    together_BFF = together_BFF @ together_BFF.transpose(1, 2)
    means_BFPD = torch.einsum("bfg,bgpd->bfpd", together_BFF, frames_BFPD)
    means_BFPD = means_BFPD / together_BFF.sum(2)[..., None, None]
    return means_BFPD.where(static_BFP[..., None], frames_BFPD)


def _sets(static_BFP: Tensor, first_BF: Tensor) -> Tensor:
    """Members of the sets to cluster, bool [B, 2 F, P]: static by segment, then others by frame."""
    is_first_BF = first_BF == torch.arange(first_BF.shape[1], device=first_BF.device)
    return torch.cat([static_BFP & is_first_BF[..., None], ~static_BFP], 1)


def _combined(
    ctx: VisualContext, rows_BSP: Tensor, static_BFP: Tensor, first_BF: Tensor, length_BF: Tensor
) -> TokenTransform:
    """Every token in the row of its item; a static one counts as a part of its segment."""
    of_segment_BFP, own_BFP = rows_BSP.chunk(2, dim=1)
    of_segment_BFP = of_segment_BFP.gather(1, first_BF[..., None].expand_as(of_segment_BFP))
    rows_BN = of_segment_BFP.where(static_BFP, own_BFP).flatten(1)
    parts_BFP = static_BFP / length_BF[..., None] + ~static_BFP
    weights_BN = ctx.sizes_BN * parts_BFP.flatten(1) * (rows_BN >= 0)
    return TokenTransform.merge(rows_BN.clamp_min(0), weights_BN, ctx.num_keep)
