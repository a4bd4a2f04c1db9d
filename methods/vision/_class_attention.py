"""The signal that most pruning methods share."""

from __future__ import annotations

from torch import Tensor

from methods.contexts import VisionContext


def class_attention(ctx: VisionContext) -> Tensor:
    """The class token's attention averaged over heads, float [B, N] in [0, 1].

    For methods that declare ``needs_cls``.
    """
    assert ctx.cls_attention_BHN is not None
    return ctx.cls_attention_BHN.mean(1).float()
