"""One place inside every attention layer where queries, keys and masks can be seen.

Transformers calls attention through a registry of functions. This module registers one, called
:data:`NAME`, that runs PyTorch's scaled dot-product attention after showing its inputs to a *tap*,
if any is attached to that attention module. Open every model with ``attn_implementation=NAME``,
compressed or not: without a tap it is the library's own ``sdpa``, bit for bit.

The mask function must be registered under the same name. Without it transformers builds no mask at
all for an unknown attention name, and padded batches silently get wrong numbers.

Shapes: B sequences, H query heads, K key/value heads, T queries, N keys, D channels of a head.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final

from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_utils import AttentionInterface

NAME: Final = "paretoken"


@dataclass(frozen=True, slots=True)
class AttentionCall:
    """What one attention layer is about to compute.

    Queries and keys come after rotary embedding, keys and values after the cache was extended and
    before heads are repeated. ``mask`` is None (causal where the module is causal and T > 1, else
    everything is visible), boolean (True is visible) or additive, broadcastable to [B, H, T, N].
    ``gate_BT`` multiplies each query's output, before the output projection; None leaves it.
    """

    query_BHTD: Tensor
    key_BKND: Tensor
    value_BKND: Tensor
    mask: Tensor | None
    gate_BT: Tensor | None = None


Tap = Callable[[nn.Module, AttentionCall], AttentionCall]
"""``tap(module, call) -> call``: what the tap returns is computed, or shown to the next tap."""

_taps: dict[nn.Module, list[Tap]] = defaultdict(list)


@contextmanager
def attach(modules: Iterable[nn.Module], tap: Tap) -> Iterator[None]:
    """Show ``tap`` every attention call of ``modules`` (attention modules) inside the block.

    Several taps see a call in the order in which they were attached; on any exit exactly the one
    attached here is removed.
    """
    tapped = list(modules)
    for module in tapped:
        _taps[module].append(tap)
    try:
        yield
    finally:
        for module in tapped:
            _taps[module].remove(tap)
            if not _taps[module]:
                del _taps[module]


@contextmanager
def paused(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Show no tap what ``modules`` compute inside the block."""
    hidden = {module: _taps.pop(module) for module in modules if module in _taps}
    try:
        yield
    finally:
        _taps.update(hidden)


def is_tapped(module: nn.Module) -> bool:
    """Whether a tap is attached to this attention module."""
    return module in _taps


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
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    call = AttentionCall(query, key, value, attention_mask)
    for tap in _taps.get(module, ()):
        call = tap(module, call)
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


AttentionInterface.register(NAME, _tapped_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
