"""DyCoke: in windows of four frames, what differs from a reference frame.

"DyCoke: Dynamic Compression of Tokens for Fast Video Large Language Models" (arXiv:2411.15024),
section 3.2, token temporal merging (TTM), its training-free first stage. Of a window's frames 0, 1,
2 and 3, frame 0 stays whole; 1 is compared with 0 and 3 with 2, place by place, then 2 with 0, by
cosine; the most similar tokens of the compared frame are dropped, the same share of each. Official
code: github.com/KD-TAO/DyCoke (``llava_arch.py``, ``dycole_ttm``). The second stage, which drops
entries of the cache while the answer is written, is not a reduction of visual tokens.

Where we differ:

- The official share of 0.7 keeps 47.5% of the tokens, and no share keeps less than a quarter.
  Below that, the windows' first frames are a slower video, to which the same rule applies, and so
  on up to the first frame of all, whose tokens are dropped in an order that stays spread over it.
- A video need not end with a window; the official code skips frames 2 of the last window.
- A token whose counterpart was removed before counts as different.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from methods.base import Paper, ScoringMethod
from methods.contexts import VisualContext
from methods.video._frames import spread_ranks
from methods.vlm._places import at_places, from_places, occupied


class DyCoke(ScoringMethod[VisualContext]):
    """Prunes tokens that resemble the same place of their window's reference frame."""

    paper: ClassVar[Paper | None] = Paper(
        title="DyCoke: Dynamic Compression of Tokens for Fast Video Large Language Models",
        arxiv="2411.15024",
        code="https://github.com/KD-TAO/DyCoke",
    )

    def score(self, ctx: VisualContext) -> Tensor:
        """Frames of slower videos first; in a frame, the least similar token, [B, N].

        All frames of one tier lose tokens alike, because what counts is the standing in the frame.
        """
        frames, places = ctx.layout.num_images, ctx.layout.per_image
        references = [reference_frame(frame) for frame in range(frames)]
        tiers_F = torch.tensor([tier(frame, frames) for frame in range(frames)], device=ctx.device)
        similarity_BFP = _similarity(ctx, references)
        similarity_BFP[:, 0] = torch.tensor(spread_ranks(places), device=ctx.device).float()
        standing_BFP = similarity_BFP.argsort(dim=2, stable=True).argsort(2)
        return from_places(tiers_F[:, None] * places - standing_BFP, ctx).float()


def tier(frame: int, num_frames: int) -> int:
    """How slow a video must be to have the frame: 0, 1 for every fourth, 2 for every 16th..."""
    if frame == 0:
        return num_frames.bit_length()
    return 0 if frame % 4 else 1 + tier(frame // 4, num_frames)


def reference_frame(frame: int) -> int:
    """The frame that it is compared with; the first frame of all has none but itself."""
    if frame == 0:
        return 0
    if frame % 4 == 0:
        return 4 * reference_frame(frame // 4)
    return frame - 2 if frame % 4 == 2 else frame - 1


def _similarity(ctx: VisualContext, references: list[int]) -> Tensor:
    """Cosine of every token to its counterpart in the reference frame, [B, F, P].

    Empty places are above, so that they stand behind the tokens of their frame.
    """
    hidden_BFPD, present_BFP = at_places(ctx.hidden_BND.float(), ctx), occupied(ctx)
    cosine_BFP = cosine_similarity(hidden_BFPD, hidden_BFPD[:, references], dim=-1)
    cosine_BFP = cosine_BFP.where(present_BFP[:, references], -1.0)
    return cosine_BFP.where(present_BFP, 2.0)
