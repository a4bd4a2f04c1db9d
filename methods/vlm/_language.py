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
    _require_inside(ctx, reader)
    from_text_BHQN = ctx.text_attention_BHQN
    if from_text_BHQN is None:
        assert ctx.attention_BHTN is not None
        from_text_BHQN = ctx.attention_BHTN[:, :, ctx.num_in :]
    return from_text_BHQN.float().mean(1)


def attention_from_visual(ctx: VisualContext, reader: str) -> Tensor:
    """The same of every visual token, [B, N, N]; row i is what token i attended to."""
    _require_inside(ctx, reader)
    assert ctx.attention_BHTN is not None
    return ctx.attention_BHTN[:, :, : ctx.num_in].float().mean(1)


def _require_inside(ctx: VisualContext, reader: str) -> None:
    if ctx.visual_T is None:
        raise InfeasibleError(
            f"{reader} reads attention inside the language model, of which there is none at layer "
            f"0: choose a schedule that cuts later, for example one-layer with layer 2"
        )
