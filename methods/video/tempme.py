"""TempMe's merging: first within frames, then across neighbouring frames, clip by clip.

"TempMe: Video Temporal Token Merging for Efficient Text-Video Retrieval" (arXiv:2409.01156),
section 3.3. Image merging (ImgMe) merges similar tokens of one frame in the early layers of CLIP;
clip merging (ClipMe) then joins neighbouring frames to clips, step by step, merges across the
joined ones and within the new clip. All merges are ToMe's bipartite matching with averages by size.
Official code: github.com/LunarShen/TempMe (``module_tome_patch.py``, ``module_tome_merge.py``).

This is the training-free part only, and all at once at one place, normally the doorstep of a
language model: its tower sees every frame alone. Where we differ therefore:

- No adapters, no position embedding for frames, no class tokens in the clips.
- ImgMe is one step and ClipMe pairs neighbours until one clip is left (the paper joins 12 frames in
  three of 12 layers); an odd clip waits for the next step. Every step makes the same factor of the
  cut, and its merges across and within a clip are one matching over the joined tokens.
- Tokens are compared as they are; the official code compares within a clip by the block's keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import ClassVar

import torch
from torch import Tensor

from methods.base import Paper, TokenMethod
from methods.contexts import VisualContext
from methods.transform import TokenTransform
from methods.video._frames import whole_frames
from methods.vlm._bipartite import bipartite_rows


class TempMe(TokenMethod[VisualContext]):
    """Merges within frames and then across ever longer clips."""

    paper: ClassVar[Paper | None] = Paper(
        title="TempMe: Video Temporal Token Merging for Efficient Text-Video Retrieval",
        arxiv="2409.01156",
        code="https://github.com/LunarShen/TempMe",
        catalogue="tempme",
    )

    def transform(self, ctx: VisualContext) -> TokenTransform:
        """As many steps as it takes to join all frames, each of them cutting by the same factor."""
        frames_BFPD = whole_frames(ctx, self.id())
        sizes_BFP = ctx.sizes_BN.view(frames_BFPD.shape[:3])
        frames = zip(frames_BFPD.unbind(1), sizes_BFP.unbind(1), strict=True)
        clips = [_Clip.of(features_BPD, sizes_BP) for features_BPD, sizes_BP in frames]
        steps = 1 + (len(clips) - 1).bit_length()
        for step in range(1, steps):
            held = (ctx.num_keep / ctx.num_in) ** (step / steps)
            clips = _paired([clip.merged(_rounded_up(held * clip.num_in)) for clip in clips])
        return TokenTransform.merge(clips[0].merged(ctx.num_keep).rows, ctx.sizes_BN, ctx.num_keep)


@dataclass(frozen=True)
class _Clip:
    """Tokens of neighbouring frames: features [B, M, D] and sizes [B, M] of what they were merged
    into, and the place of every original token among those, long [B, N]."""

    features: Tensor
    sizes: Tensor
    rows: Tensor

    @classmethod
    def of(cls, features_BPD: Tensor, sizes_BP: Tensor) -> _Clip:
        """A single frame, unmerged."""
        places = torch.arange(sizes_BP.shape[1], device=sizes_BP.device)
        return cls(features_BPD, sizes_BP, places.expand_as(sizes_BP))

    @property
    def num_in(self) -> int:
        """Original tokens of the clip."""
        return self.rows.shape[1]

    def merged(self, num_keep: int) -> _Clip:
        """Merged down to ``num_keep`` tokens, or as it is if it has no more."""
        num_keep = min(num_keep, self.sizes.shape[1])
        next_rows = bipartite_rows(self.features, self.sizes, num_keep)
        step = TokenTransform.merge(next_rows, self.sizes, num_keep)
        rows = next_rows.gather(1, self.rows)
        return _Clip(step(self.features), step.sizes(self.sizes), rows)

    def joined(self, later: _Clip) -> _Clip:
        """One clip of both."""
        return _Clip(
            torch.cat([self.features, later.features], 1),
            torch.cat([self.sizes, later.sizes], 1),
            torch.cat([self.rows, later.rows + self.sizes.shape[1]], 1),
        )


def _rounded_up(number: float) -> int:
    # A whole number should stay itself, whatever its last bit.
    return max(ceil(number - 1e-6), 1)


def _paired(clips: list[_Clip]) -> list[_Clip]:
    pairs = [clips[start : start + 2] for start in range(0, len(clips), 2)]
    return [pair[0].joined(pair[1]) if len(pair) == 2 else pair[0] for pair in pairs]
