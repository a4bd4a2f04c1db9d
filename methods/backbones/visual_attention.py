"""What a language layer's attention says about visual tokens, recomputed from its queries and keys.

Shapes: B sequences, N visual tokens, S tokens of the sequence, H query heads, D channels of a head.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from methods.backbones.attention_tap import AttentionCall
from methods.backbones.visual_sequence import VisualSequence
from methods.deferred import deferred
from methods.transform import rows_of


def seen_by(call: AttentionCall, scaling: float, tokens: VisualSequence) -> dict[str, Any]:
    """The fields of a :class:`~methods.contexts.VisualContext` that only a language layer gives."""
    separating_BS, num_visual = tokens.separating, tokens.num_visual
    visual_S = torch.arange(separating_BS.shape[1], device=separating_BS.device) < num_visual

    def attention(first: int) -> Tensor:
        return _causal_attention(call, scaling, separating_BS, first)[..., :num_visual]

    def keys() -> Tensor:
        return _heads_rows(call.key_BKND, separating_BS[:, :num_visual])

    return {
        "attention_BHTN": deferred(partial(attention, 0)),
        "text_attention_BHQN": deferred(partial(attention, num_visual)),
        "visual_T": visual_S,
        "keys_BHND": deferred(keys),
    }


def _causal_attention(call: AttentionCall, scaling: float, order_BS: Tensor, first: int) -> Tensor:
    """Attention of tokens ``first`` and later to all, both in the order ``order_BS``, [B, H, R, S].

    The prompt is read whole, so that a call holds all its keys.
    """
    batch, num_heads, num_tokens, width = call.key_BKND.shape
    queries_BHRD = _heads_rows(call.query_BHTD, order_BS[:, first:])
    keys_BKSD = _heads_rows(call.key_BKND, order_BS)
    # Heads that share keys become more rows of one product instead of more keys.
    grouped_BKFD = queries_BHRD.reshape(batch, num_heads, -1, width)
    logits = (
        (grouped_BKFD @ keys_BKSD.mT).mul_(scaling).view(batch, -1, num_tokens - first, num_tokens)
    )
    later_BRS = order_BS[:, None] > order_BS[:, first:, None]
    return logits.masked_fill_(later_BRS[:, None], float("-inf")).softmax(-1)


def _heads_rows(x_BHSD: Tensor, indices_BK: Tensor) -> Tensor:
    batch, num_heads = x_BHSD.shape[:2]
    shape = (batch * num_heads, -1, x_BHSD.shape[-1])
    return rows_of(x_BHSD.reshape(shape), indices_BK.repeat_interleave(num_heads, dim=0)).view(
        batch, num_heads, -1, x_BHSD.shape[-1]
    )
