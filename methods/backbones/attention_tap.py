"""One place inside every attention layer where queries, keys and masks can be seen.

A *tap* is shown what an attention module is about to compute, and may change it. Only models that
were opened with the function of :mod:`methods.backbones.library.tapped_attention` show anything.
Taps belong to the thread that attached them: several threads may use one model at a time.

Shapes: B sequences, H query heads, K key/value heads, T queries, N keys, D channels of a head.
"""

from __future__ import annotations

import threading
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

Taps = dict[nn.Module, list[Tap]]
"""What one thread attached."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Entries of sequences that are fed one token each at a time, in place of keys or values.

    Every sequence has its own number of entries, [1, K, N, D], and its own thread's taps.
    """

    entries: list[Tensor]
    taps: list[Taps]


class _Mine(threading.local):
    def __init__(self) -> None:
        self.taps: Taps = defaultdict(list)


_mine = _Mine()


def taps_of_this_thread() -> Taps:
    """What the calling thread attached, now and later."""
    return _mine.taps


@contextmanager
def acting_for(taps: Taps) -> Iterator[None]:
    """Show calls inside the block to another thread's taps, which waits meanwhile."""
    own, _mine.taps = _mine.taps, taps
    try:
        yield
    finally:
        _mine.taps = own


@contextmanager
def attach(modules: Iterable[nn.Module], tap: Tap) -> Iterator[None]:
    """Show ``tap`` every attention call of ``modules`` (attention modules) inside the block.

    Several taps see a call in the order in which they were attached; on any exit exactly the one
    attached here is removed.
    """
    tapped, taps = list(modules), _mine.taps
    for module in tapped:
        taps[module].append(tap)
    try:
        yield
    finally:
        for module in tapped:
            taps[module].remove(tap)
            if not taps[module]:
                del taps[module]


@contextmanager
def paused(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Show no tap what ``modules`` compute inside the block."""
    taps = _mine.taps
    hidden = {module: taps.pop(module) for module in modules if module in taps}
    try:
        yield
    finally:
        taps.update(hidden)


def is_tapped(module: nn.Module) -> bool:
    """Whether a tap is attached to this attention module."""
    return module in _mine.taps


def after_taps(module: nn.Module, call: AttentionCall) -> AttentionCall:
    """What the taps of an attention module make of a call, one after another."""
    for tap in _mine.taps.get(module, ()):
        call = tap(module, call)
    return call
