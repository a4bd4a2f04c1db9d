"""FastVID: segments of similar frames; salient tokens stay, the rest merges into dense anchors.

"FastVID: Dynamic Density Pruning for Fast Video Large Language Models" (arXiv:2503.11187),
section 3. Official code: github.com/LunarShen/FastVID (``modeling_qwen2.py``).

- Dynamic segmentation (DySeg): the video is cut between neighbouring frames where their global
  features are least similar, into at least ``segments`` pieces, and wherever the similarity is
  below ``similarity``.
- Salient tokens (ATS): most of a frame's budget goes to the tokens with the most class-token
  attention.
- Density-based merging (DTM): the rest goes to anchors in every ``stride``-th frame of a segment,
  counted from its last: the density peaks (DPC-KNN, four neighbours) among the tokens that are not
  salient. All such tokens of the segment are assigned to the most similar anchor (cosine) of each
  anchor frame; an anchor becomes beta times itself plus 1 - beta times the average of what was
  assigned to it, itself included, or 1 / (n + 1) instead of beta, if that is more.

Where we differ:

- The global feature of a frame is the mean of its tokens in the vision tower; the official code
  has SigLIP's attention pooling, whose attention also takes the class token's part.
- Shares of the budget are rounded so that it is met exactly; anchors for which anchor frames have
  no room stand in other frames.
- Equal densities are settled for the earlier token instead of by noise.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize, pad

from methods.base import Paper, TokenMethod
from methods.contexts import VisualContext
from methods.transform import TokenTransform
from methods.video._frames import whole_frames
from methods.vlm._budgets import even_budgets, exact_budgets, image_of, tokens_per_image
from methods.vlm._density import peak_scores, token_distances
from methods.vlm._selection import best_of_each
from methods.vlm._tower import class_attention


class FastVID(TokenMethod[VisualContext]):
    """Keeps salient tokens of every frame and merges the others segment by segment."""

    version: ClassVar[int] = 2
    paper: ClassVar[Paper | None] = Paper(
        title="FastVID: Dynamic Density Pruning for Fast Video Large Language Models",
        arxiv="2503.11187",
        code="https://github.com/LunarShen/FastVID",
    )
    needs_cls: ClassVar[bool] = True
    needs_tower: ClassVar[bool] = True

    segments: int = Field(default=8, ge=1, description="c: the fewest segments of a video.")
    similarity: float = Field(
        default=0.9, ge=-1, le=1, description="tau: frames less similar than this are cut apart."
    )
    merged_share: float = Field(
        default=0.4, ge=0, le=1, description="d: share of the budget for anchors (rounded down)."
    )
    stride: int = Field(default=4, ge=1, description="p: a segment's frames for one with anchors.")
    beta: float = Field(
        default=0.6, ge=0, le=1, description="Least weight of an anchor in what it becomes."
    )

    def transform(self, ctx: VisualContext) -> TokenTransform:
        """Salient tokens as they are, anchors merged, in the order of the video."""
        frames_BFPD, frame_BN = whole_frames(ctx, self.id()), image_of(ctx)
        num_anchors = int(ctx.num_keep * self.merged_share)
        salient_BF = exact_budgets(even_budgets(ctx), even_budgets(ctx), ctx.num_keep - num_anchors)
        salient_BN = best_of_each(class_attention(ctx, ctx.tower.selected), frame_BN, salient_BF)

        segment_BF = self.segment(ctx)
        capacity_BF = tokens_per_image(ctx) - salient_BF
        anchors_BF = exact_budgets(self.anchor_weights(segment_BF), capacity_BF, num_anchors)
        density_BN = _density(frames_BFPD, ~salient_BN)
        anchor_BN = best_of_each(density_BN, frame_BN, anchors_BF)

        segment_BN = segment_BF.gather(1, frame_BN)
        weights_BNN = self._merge_weights(frames_BFPD, salient_BN, anchor_BN, segment_BN)
        kept_BN = salient_BN | anchor_BN
        return TokenTransform.mix(weights_BNN[kept_BN].view(ctx.batch, ctx.num_keep, -1))

    def segment(self, ctx: VisualContext) -> Tensor:
        """Which segment each frame belongs to, long [B, F]."""
        frames_BFD = ctx.tower.hidden_BIPD.float().mean(2)
        similarity_BE = cosine_similarity(frames_BFD[:, 1:], frames_BFD[:, :-1], dim=-1)
        standing_BE = similarity_BE.argsort(dim=1, stable=True).argsort(1)
        cut_BE = (standing_BE < self.segments - 1) | (similarity_BE < self.similarity)
        return pad(cut_BE.cumsum(1), (1, 0))

    def anchor_weights(self, segment_BF: Tensor) -> Tensor:
        """Relative number of anchors of every frame, float [B, F].

        A segment has anchors in proportion to its frames, equally many in each anchor frame.
        """
        together_BFF = segment_BF[:, :, None] == segment_BF[:, None]
        later_BF = together_BFF.triu(1).sum(2)
        length_BF = together_BFF.sum(2)
        anchor_frames_BF = (length_BF + self.stride - 1) // self.stride
        return (length_BF / anchor_frames_BF).where(later_BF % self.stride == 0, 0.0)

    def _merge_weights(
        self, frames_BFPD: Tensor, salient_BN: Tensor, anchor_BN: Tensor, segment_BN: Tensor
    ) -> Tensor:
        """What each salient token or anchor is made of, in its row, [B, N, N]."""
        joins_BNN = _assigned(frames_BFPD, ~salient_BN, anchor_BN, segment_BN).float()
        count_BN1 = joins_BNN.sum(2, keepdim=True)
        own_BN1 = (1 / (count_BN1 + 1)).clamp_min(self.beta)
        own_BN1 = own_BN1.where(anchor_BN[..., None] & (count_BN1 > 0), 1.0)
        identity_NN = torch.eye(joins_BNN.shape[1], device=joins_BNN.device)
        return own_BN1 * identity_NN + (1 - own_BN1) * joins_BNN / count_BN1.clamp_min(1)


def _density(frames_BFPD: Tensor, members_BN: Tensor) -> Tensor:
    """Density peaks among the members of every frame, [B, N]."""
    members_GP = members_BN.view(frames_BFPD.shape[:3]).flatten(0, 1)
    distances_GPP = token_distances(frames_BFPD.flatten(0, 1))
    return peak_scores(distances_GPP, members_GP, num_neighbors=4).view_as(members_BN)


def _assigned(
    frames_BFPD: Tensor, members_BN: Tensor, anchor_BN: Tensor, segment_BN: Tensor
) -> Tensor:
    """Which member (column) goes to which anchor (row), bool [B, N, N]: one of every frame."""
    directions_BND = normalize(frames_BFPD.flatten(1, 2), dim=-1)
    cosines_BNN = directions_BND @ directions_BND.transpose(1, 2)
    together_BNN = segment_BN[:, :, None] == segment_BN[:, None]
    possible_BNN = together_BNN & anchor_BN[:, :, None] & members_BN[:, None]
    num_frames, places = frames_BFPD.shape[1:3]
    rated_BFPN = cosines_BNN.where(possible_BNN, -torch.inf).view(
        -1, num_frames, places, num_frames * places
    )
    first_BF1N = rated_BFPN.argmax(2, keepdim=True)
    chosen_BFPN = torch.zeros_like(rated_BFPN, dtype=torch.bool).scatter(2, first_BF1N, True)
    return chosen_BFPN.view_as(possible_BNN) & possible_BNN
