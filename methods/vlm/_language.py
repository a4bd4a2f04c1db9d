"""What the language model's attention says about visual tokens.

Shapes: B examples, N current visual tokens, H heads, T tokens of the whole sequence.
"""

from __future__ import annotations

from torch import Tensor

from methods.base import InfeasibleError
from methods.contexts import VisualContext


def attention_from_text(ctx: VisualContext, reader: str) -> Tensor:
    """Attention of every text token in the previous layer, averaged over heads, [B, Q, N].

    ``reader`` is the method's id for the message of InfeasibleError, raised at the doorstep.
    """
    attention_BHTN, visual_T = _attention(ctx, reader)
    return attention_BHTN[:, :, ~visual_T].float().mean(1)


def attention_from_visual(ctx: VisualContext, reader: str) -> Tensor:
    """The same of every visual token, [B, N, N]; row i is what token i attended to."""
    attention_BHTN, visual_T = _attention(ctx, reader)
    return attention_BHTN[:, :, visual_T].float().mean(1)


def _attention(ctx: VisualContext, reader: str) -> tuple[Tensor, Tensor]:
    attention_BHTN, visual_T = ctx.attention_BHTN, ctx.visual_T
    if attention_BHTN is None or visual_T is None:
        raise InfeasibleError(
            f"{reader} reads attention inside the language model, of which there is none at layer "
            f"0: choose a schedule that cuts later, for example one-layer with layer 2"
        )
    return attention_BHTN, visual_T
