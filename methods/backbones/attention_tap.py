"""One place inside every attention layer where queries, keys and masks can be seen.

A *tap* is shown what an attention module is about to compute, and may change it. Only models that
were opened with the function of :mod:`methods.backbones.library.tapped_attention` show anything.

Shapes: B sequences, H query heads, K key/value heads, T queries, N keys, D channels of a head.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn


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


def after_taps(module: nn.Module, call: AttentionCall) -> AttentionCall:
    """What the taps of an attention module make of a call, one after another."""
    for tap in _taps.get(module, ()):
        call = tap(module, call)
    return call
