"""One place inside every attention layer where queries, keys and masks can be seen.

Transformers calls attention through a registry of functions. This module registers one, called
:data:`NAME`, that runs PyTorch's scaled dot-product attention after showing its inputs to a *tap*,
if one is attached to that attention module. Open every model with ``attn_implementation=NAME``,
compressed or not: without a tap it is the library's own ``sdpa``, bit for bit.

The mask function must be registered under the same name. Without it transformers builds no mask at
all for an unknown attention name, and padded batches silently get wrong numbers.

Shapes: B sequences, H query heads, K key/value heads, T queries, N keys, D channels of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_utils import AttentionInterface

NAME: Final = "paretoken"

Tap = Callable[[nn.Module, Tensor, Tensor, Tensor, Tensor | None], Tensor | None]
"""``tap(module, query_BHTD, key_BKND, value_BKND, mask) -> mask``.

Queries and keys come after rotary embedding, keys and values after the cache was extended and
before heads are repeated. The mask is None (causal where the module is causal and T > 1, else
everything is visible), boolean (True is visible) or additive, broadcastable to [B, H, T, N]. What
the tap returns is used in its place.
"""

_taps: dict[nn.Module, Tap] = {}


@contextmanager
def attach(modules: Iterable[nn.Module], tap: Tap) -> Iterator[None]:
    """Show ``tap`` every attention call of ``modules`` (attention modules) inside the block.

    Raises RuntimeError if one of them has a tap already; on any exit exactly the taps attached
    here are removed.
    """
    tapped = list(modules)
    if any(module in _taps for module in tapped):
        raise RuntimeError("an attention module has a tap already; compressed blocks do not nest")
    _taps.update(dict.fromkeys(tapped, tap))
    try:
        yield
    finally:
        for module in tapped:
            del _taps[module]


def is_tapped(module: nn.Module) -> bool:
    """Whether a tap is attached to this attention module."""
    return module in _taps


def _tapped_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    tap = _taps.get(module)
    if tap is not None:
        attention_mask = tap(module, query, key, value, attention_mask)
    output: tuple[Tensor, None] = sdpa_attention_forward(
        module, query, key, value, attention_mask, **kwargs
    )
    return output


AttentionInterface.register(NAME, _tapped_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
