"""What a language layer's attention says about visual tokens, recomputed from its queries and keys.

Shapes: B sequences, N visual tokens, S tokens of the sequence, H query heads, D channels of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from methods.backbones.attention_tap import AttentionCall
from methods.backbones.visual_sequence import VisualSequence
from methods.deferred import deferred


def seen_by(call: AttentionCall, scaling: float, tokens: VisualSequence) -> dict[str, Any]:
    """The fields of a :class:`~methods.contexts.VisualContext` that only a language layer gives."""
    separating_BS, num_visual = tokens.separating, tokens.num_visual
    visual_S = torch.arange(separating_BS.shape[1], device=separating_BS.device) < num_visual

    def attention() -> Tensor:
        rows_BHSS = _rows(_causal_attention(call, scaling), separating_BS)
        return _rows(rows_BHSS.mT, separating_BS[:, :num_visual]).mT

    def keys() -> Tensor:
        return _rows(call.key_BKND, separating_BS[:, :num_visual])

    return {
        "attention_BHTN": deferred(attention),
        "visual_T": visual_S,
        "keys_BHND": deferred(keys),
    }


def _causal_attention(call: AttentionCall, scaling: float) -> Tensor:
    """[B, H, S, S]; the prompt is read whole, so that a call holds all its keys."""
    group = call.query_BHTD.shape[1] // call.key_BKND.shape[1]
    key_BHSD = call.key_BKND.repeat_interleave(group, dim=1)
    logits_BHSS = call.query_BHTD @ key_BHSD.mT * scaling
    future_SS = torch.ones(logits_BHSS.shape[-2:], dtype=torch.bool, device=key_BHSD.device).triu(1)
    return logits_BHSS.masked_fill(future_SS, float("-inf")).softmax(-1)


def _rows(x_BHSD: Tensor, indices_BK: Tensor) -> Tensor:
    shape = (-1, x_BHSD.shape[1], -1, x_BHSD.shape[-1])
    return x_BHSD.gather(2, indices_BK[:, None, :, None].expand(shape))
