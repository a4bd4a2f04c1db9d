"""EViT: keep the attentive patches, fuse the inattentive ones into a single token.

"Not All Patches are What You Need: Expediting Vision Transformers via Token Reorganizations"
(arXiv:2202.07800), attentive token identification and inattentive token fusion. Official code:
github.com/youweiliang/evit (``evit.py``).

Where we differ:

- The fused token is the attention-weighted *average* of the inattentive patches. The paper and the
  official code take the weighted sum without dividing by the weights' total; the authors fine-tune
  with it, while an untuned model would receive a token of a small fraction of the usual norm.
- The budget counts the fused token: K kept tokens are K - 1 patches and the fused one. The
  official code adds it to the patches that its keep rate leaves.
- Kept patches stay in their original order; the official code sorts them by attention.

As in the official code, a fused token is an ordinary patch for later cuts.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from methods.base import Paper, TokenMethod, top_indices
from methods.contexts import VisionContext
from methods.schedule import Progressive, Schedule
from methods.transform import TokenTransform
from methods.vision._class_attention import class_attention


class EViT(TokenMethod[VisionContext]):
    """K - 1 patches with the most class-token attention, and one fused token in the last row."""

    paper: ClassVar[Paper | None] = Paper(
        title="Not All Patches are What You Need: Expediting Vision Transformers via Token "
        "Reorganizations",
        arxiv="2202.07800",
        code="https://github.com/youweiliang/evit",
    )
    home: ClassVar[Schedule] = Progressive()
    needs_cls: ClassVar[bool] = True

    def transform(self, ctx: VisionContext) -> TokenTransform:
        """One-hot rows for the attentive patches, then the fused row."""
        attention_BN = class_attention(ctx)
        kept = top_indices(attention_BN, ctx.num_keep - 1)
        return TokenTransform.merge(_rows(kept, ctx), _weights(kept, attention_BN), ctx.num_keep)


def _rows(kept_BK: Tensor, ctx: VisionContext) -> Tensor:
    fused_row = ctx.num_keep - 1
    rows_BN = kept_BK.new_full((ctx.batch, ctx.num_in), fused_row)
    own_rows = torch.arange(fused_row, device=ctx.device).expand(ctx.batch, -1)
    return rows_BN.scatter(1, kept_BK, own_rows)


def _weights(kept_BK: Tensor, attention_BN: Tensor) -> Tensor:
    # Attention can underflow to zero for every inattentive patch; they are then averaged equally.
    floor = torch.finfo(attention_BN.dtype).tiny
    ones = torch.ones_like(attention_BN)
    return attention_BN.clamp_min(floor).scatter(1, kept_BK, ones)
