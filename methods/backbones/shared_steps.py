"""Decoding steps of several sequences, taken together over one model.

Selective batching: whatever a layer does token by token (projections, norms, feed-forward parts) is
computed for all sequences at once, attention for each over its own cache, as when it is alone.
Nothing is padded, so that lengths, compression and cache formats may differ from sequence to
sequence, and what each method keeps cannot depend on who else is there. Prompts are read one by
one. Between two steps anybody may come or go.

Source: Orca, "A Distributed Serving System for Transformer-Based Generative Models" (Yu et al.,
OSDI 2022), selective batching and iteration-level scheduling; ours has every sequence in a thread
of its own, so that methods, listeners and stops stay what they are for one sequence.

Shapes: B sequences, Q tokens fed at once, V words, K key/value heads, N entries, D channels.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final, Protocol

import torch
from torch import Tensor

from methods.backbones.attention_tap import Rows, Taps, taps_of_this_thread
from methods.places import Place

SHAREABLE: Final[tuple[Place, ...]] = ("kv", "storage", "attention")
"""Where methods work on one sequence's cache and touch nothing that others see."""


class Steps(Protocol):
    """When a decoder reads prompts, and how it is fed behind them."""

    def reading(self) -> AbstractContextManager[None]:
        """Around the reading of a prompt."""

    def decoding(self) -> AbstractContextManager[None]:
        """Around everything that is fed behind it."""

    def logits(self, model: Any, feed_BQ: Tensor, positions: Tensor | None, cache: Any) -> Tensor:
        """Feed tokens through a cache: [B, Q, V]."""


class Alone:
    """Whoever uses the model is the only one."""

    def reading(self) -> AbstractContextManager[None]:
        """Waits for nobody."""
        return nullcontext()

    def decoding(self) -> AbstractContextManager[None]:
        """Waits for nobody."""
        return nullcontext()

    def logits(self, model: Any, feed_BQ: Tensor, positions: Tensor | None, cache: Any) -> Tensor:
        """One forward pass for these tokens alone: [B, Q, V]."""
        output = model(feed_BQ, position_ids=positions, past_key_values=cache, use_cache=True)
        logits: Tensor = output.logits
        return logits


@dataclass(eq=False)
class _Row:
    """One sequence's next token."""

    feed_11: Tensor
    cache: Any
    taps: Taps
    logits_11V: Tensor | None = None
    error: Exception | None = None

    @property
    def is_done(self) -> bool:
        return self.logits_11V is not None or self.error is not None


class SharedSteps:
    """Every step feeds the next token of all sequences that are being decoded.

    A step begins once each of them has handed in its token; the last one to do so computes it, and
    a sequence that is alone waits for nobody. One instance per model; safe from any thread.
    """

    def __init__(self) -> None:
        self.turn: Final = threading.Lock()
        """Held during every forward pass."""
        self._changed = threading.Condition()
        self._members = 0
        self._waiting: list[_Row] = []

    def reading(self) -> AbstractContextManager[Any]:
        """Alone with the model."""
        return self.turn

    @contextmanager
    def decoding(self) -> Iterator[None]:
        """From the first step to the last one; others do not step without this sequence."""
        with self._changed:
            self._members += 1
        try:
            yield
        finally:
            with self._changed:
                self._members -= 1
                self._changed.notify_all()

    def logits(self, model: Any, feed_BQ: Tensor, positions: Tensor | None, cache: Any) -> Tensor:
        """In a step with others; several tokens or sequences at once are fed alone."""
        if feed_BQ.shape != (1, 1) or positions is not None:
            with self.turn:
                return Alone().logits(model, feed_BQ, positions, cache)
        row = _Row(feed_BQ, cache, taps_of_this_thread())
        if rows := self._gathered(row):
            self._step(model, rows)
        if row.error is not None:
            raise row.error
        assert row.logits_11V is not None
        return row.logits_11V

    def _gathered(self, row: _Row) -> list[_Row]:
        """Wait until this row's step is taken, or is to be taken here: then with these rows."""
        with self._changed:
            self._waiting.append(row)
            self._changed.wait_for(lambda: row.is_done or self._is_complete_with(row))
            if row.is_done:
                return []
            rows, self._waiting = self._waiting, []
            return rows

    def _is_complete_with(self, row: _Row) -> bool:
        """Whether everybody waits, and this row is not on its way already."""
        return len(self._waiting) == self._members and row in self._waiting

    def _step(self, model: Any, rows: Sequence[_Row]) -> None:
        try:
            with self.turn:
                outcome: list[Tensor] = list(torch.split(_fed_together(model, rows), 1))
        except Exception as error:
            for row in rows:
                row.error = error
        else:
            for row, logits_11V in zip(rows, outcome, strict=True):
                row.logits_11V = logits_11V
        with self._changed:
            self._changed.notify_all()


def _fed_together(model: Any, rows: Sequence[_Row]) -> Tensor:
    """Logits after one token of each sequence, [B, 1, V]."""
    if len(rows) == 1:  # bit for bit what it is without us
        return Alone().logits(model, rows[0].feed_11, None, rows[0].cache)
    feed_B1 = torch.cat([row.feed_11 for row in rows])
    seen = [[row.cache.get_seq_length()] for row in rows]
    output = model(
        feed_B1,
        position_ids=torch.tensor(seen, device=feed_B1.device),
        past_key_values=_RowCaches(rows),
        # a mask with four axes is passed on as it is: every row's attention makes its own
        attention_mask=torch.ones(1, 1, 1, 1, dtype=torch.bool, device=feed_B1.device),
        use_cache=True,
    )
    logits_B1V: Tensor = output.logits
    return logits_B1V


class _RowCaches:
    """The caches of all rows, as far as a model's layers ask a cache."""

    def __init__(self, rows: Sequence[_Row]) -> None:
        self._caches = [row.cache for row in rows]
        self._taps = [row.taps for row in rows]

    def get_seq_length(self) -> int:
        """Of the longest."""
        return max(int(cache.get_seq_length()) for cache in self._caches)

    def update(self, keys_BK1D: Tensor, values_BK1D: Tensor, layer: int) -> tuple[Rows, Rows]:
        """Append each row's entry to its cache."""
        pairs = [
            cache.update(key, value, layer)
            for cache, key, value in zip(
                self._caches, torch.split(keys_BK1D, 1), torch.split(values_BK1D, 1), strict=True
            )
        ]
        keys, values = zip(*pairs, strict=True)
        return Rows(list(keys), self._taps), Rows(list(values), self._taps)
