"""Goes on from one prompt, and tells every step's text as the compressed model gives it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from statistics import fmean
from typing import Any, Literal

from torch import Tensor

from methods.backbones.base import Compression, VacuousCompressionError
from orchestrator.serving.messages import Continuation, Ending, Event, Piece, Refusal
from orchestrator.serving.reader import Fed, Reader
from orchestrator.serving.stops import Stops
from orchestrator.serving.text import Decoder
from orchestrator.serving.unanswerable import UNANSWERABLE, refusal_of

Compressed = tuple[Any, Compression]
"""A handle on a model that is compressed, and what happens to it."""
TOO_LONG = "context_length_exceeded"


class Completion:
    """One answer under way."""

    def __init__(
        self,
        reader: Reader,
        continuation: Continuation,
        tell: Callable[[Event], None],
        wanted: Callable[[], bool],
    ) -> None:
        self._reader = reader
        self._continuation = continuation
        self._tell = tell
        self._wanted = wanted
        self._decoder: Decoder
        self._stops = Stops(continuation.stop)
        self._ends = reader.ends
        self._count = 0
        self._reason: Literal["stop", "length"] = "length"
        self._is_over = False

    def run(self, at_work: Callable[[], AbstractContextManager[Compressed]]) -> None:
        """Generate inside ``at_work()``; the last that is told is an ending or a refusal."""
        try:
            fed = self._reader.fed(self._continuation)
        except ValueError as error:
            self._tell(Refusal(str(error)))
            return
        self._decoder = fed.decoder
        if isinstance(most := self._most_tokens(fed), Refusal):
            self._tell(most)
            return
        self._tell(self._generated(fed, most, at_work))

    def _most_tokens(self, fed: Fed) -> int | Refusal:
        room = self._reader.context_length - len(fed.tokens)
        asked = self._continuation.max_tokens
        most = min(self._reader.default_tokens, room) if asked is None else asked
        if 0 < most <= room:
            return most
        return Refusal(
            f"prompt ({len(fed.tokens)} tokens) and answer ({max(most, 1)}) have to fit into "
            f"{self._reader.context_length} tokens together",
            TOO_LONG,
        )

    def _generated(
        self, fed: Fed, most: int, at_work: Callable[[], AbstractContextManager[Compressed]]
    ) -> Event:
        is_compressed = True
        compression = Compression()
        try:
            with at_work() as (model, compression), model.heard(self._hear):
                fed.run(model, most)
                self._is_over = True
        except UNANSWERABLE as error:
            if not (self._is_over and isinstance(error, VacuousCompressionError)):
                return refusal_of(error)
            is_compressed = False
        return self._ending(fed, compression, is_compressed)

    def _ending(self, fed: Fed, compression: Compression, is_compressed: bool) -> Ending:
        if not self._stops.reached and (rest := self._rest()):
            self._tell(Piece(rest))
        return Ending(
            finish_reason=self._reason,
            prompt_tokens=len(fed.tokens),
            completion_tokens=self._count,
            tokens_kept=fmean(compression.tokens_per_layer),
            kv_bytes=compression.kv_bytes,
            compressed=is_compressed,
        )

    def _rest(self) -> str:
        text = self._stops.push(self._decoder.flush())
        if self._stops.reached:
            self._reason = "stop"
            return text
        return text + self._stops.flush()

    def _hear(self, tokens_1Q: Tensor) -> bool:
        """One step of the model; whether to go on."""
        text, ended = "", False
        for token in tokens_1Q[0].tolist():
            self._count += 1
            ended = token in self._ends
            text += "" if ended else self._stops.push(self._decoder.step(token))
            if ended := ended or self._stops.reached:
                self._reason = "stop"
                break
        self._tell(Piece(text))
        return not ended and self._wanted()
