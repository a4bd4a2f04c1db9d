"""The signal that most pruning methods share."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from methods.base import ScoringMethod
from methods.contexts import VisionContext


def class_attention(ctx: VisionContext) -> Tensor:
    """The class token's attention averaged over heads, float [B, N] in [0, 1].

    For methods that declare ``needs_cls``.
    """
    assert ctx.cls_attention_BHN is not None
    return ctx.cls_attention_BHN.mean(1).float()


class ClassAttentionMethod(ScoringMethod[VisionContext]):
    """Tokens are as important as the class token's attention to them."""

    needs_cls: ClassVar[bool] = True

    def score(self, ctx: VisionContext) -> Tensor:
        """Class-token attention averaged over heads, [B, N], in [0, 1]."""
        return class_attention(ctx)
