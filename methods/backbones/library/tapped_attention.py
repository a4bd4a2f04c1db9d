"""The attention function that every model is opened with: taps first, then the library's own.

Importing this module registers the function with transformers under :data:`NAME`; open models,
compressed or not, with ``attn_implementation=NAME``. Without a tap
(:mod:`methods.backbones.attention_tap`) it is PyTorch's scaled dot-product attention as the library
calls it, ``sdpa``, bit for bit.

The mask function must be registered under the same name. Without it transformers builds no mask at
all for an unknown attention name, and padded batches silently get wrong numbers.

Shapes: as in :mod:`methods.backbones.attention_tap`.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_utils import AttentionInterface

from methods.backbones.attention_tap import AttentionCall, Rows, acting_for, after_taps

NAME: Final = "paretoken"


def _grouped_as(call: AttentionCall, module: Any) -> Any:
    """What tells the library how many query heads share a key/value head.

    That is the module, unless a tap gave every query head keys and values of its own.
    """
    if call.key_BKND.shape[1] < call.query_BHTD.shape[1]:
        return module
    return SimpleNamespace(num_key_value_groups=1, is_causal=getattr(module, "is_causal", True))


def _tapped_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor | Rows,
    value: Tensor | Rows,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    if isinstance(key, Rows):
        assert isinstance(value, Rows)
        return _row_by_row(module, query, key, value, kwargs), None
    assert isinstance(value, Tensor)
    call = after_taps(module, AttentionCall(query, key, value, attention_mask))
    output: tuple[Tensor, None] = sdpa_attention_forward(
        _grouped_as(call, module),
        call.query_BHTD,
        call.key_BKND,
        call.value_BKND,
        call.mask,
        **kwargs,
    )
    if call.gate_BT is None:
        return output
    return output[0] * call.gate_BT[..., None, None], None


def _row_by_row(
    module: nn.Module, query_BH1D: Tensor, keys: Rows, values: Rows, kwargs: dict[str, Any]
) -> Tensor:
    """Every sequence's token reads that sequence's entries, as it does alone: [B, 1, H, D]."""
    outputs = []
    for query, key, value, taps in zip(
        torch.split(query_BH1D, 1), keys.entries, values.entries, keys.taps, strict=True
    ):
        with acting_for(taps):
            outputs.append(_tapped_attention(module, query, key, value, None, **kwargs)[0])
    return torch.cat(outputs)


AttentionInterface.register(NAME, _tapped_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
