"""text: predict the next bytes of real source code from a compressed context.

The cache of `context_length` tokens is compressed; then one more byte and a continuation of
`continuation_length` bytes are fed through it, and every byte of the continuation is scored.
Metric: bits per byte, minimised; 8 is what a model without knowledge needs, and outcomes are not
bounded above.

Most of what a byte depends on stands shortly before it: recent entries matter most, and a window of
them is hard to beat. The continuation brings its own context along, so that its first bytes are hit
hardest; the longer it is, the smaller the differences. Compare methods by differences on the same
examples.

Data: :mod:`sweeps.data.source_text`, files of the running Python's standard library that no
training saw; windows in a fixed order, no two overlap. A task with 128 examples sees the first 128
of one with 256. Windows of one file have much in common, so that a standard error over examples is
a little too small; intervals are taken over files.

Shapes: B examples, T context length, Q bytes of a continuation, V tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from methods.backbones.causal_lm import CausalLMBackbone
from methods.places import Place
from sweeps.data import source_text
from sweeps.tasks._fit import too_few_tokens, too_long
from sweeps.tasks._requests import only_key, only_row
from sweeps.tasks.base import Task

_SHOWN_BYTES = 80  # of a context, in listings


@dataclass(frozen=True)
class TextBatch:
    """Windows of one forward pass."""

    context: Tensor  # int64 [B, T], a start token and bytes
    fed: Tensor  # int64 [B, Q], the byte between and all but the last of the continuation
    continuation: Tensor  # int64 [B, Q]

    def __len__(self) -> int:
        return len(self.context)


class Text(Task[CausalLMBackbone, TextBatch]):
    """Bits per byte of a continuation."""

    id: ClassVar[str] = "text"
    version: ClassVar[int] = 1
    place: ClassVar[Place] = "kv"
    metric: ClassVar[str] = "bits per byte"
    direction: ClassVar[Literal["maximize", "minimize"]] = "minimize"

    context_length: int = Field(
        default=512, ge=8, description="Tokens that are compressed, the start token included."
    )
    continuation_length: int = Field(default=16, ge=1, description="Bytes that are scored.")

    def source_digests(self) -> list[str]:
        """Digests of the files that the windows are from."""
        return list(source_text.digests("test"))

    def num_tokens(self, config: dict[str, Any]) -> int:  # noqa: ARG002 - the same for any model
        """Cache entries when it is compressed."""
        return self.context_length

    def incompatible_with(self, config: dict[str, Any]) -> str | None:
        """The task needs tokens that are bytes, and room for the whole window."""
        unknown = too_few_tokens(self.id, source_text.VOCABULARY, config)
        return unknown or too_long(self.id, self._window, config)

    def batches(self) -> list[TextBatch]:
        """The front of the test stream; made once per process."""
        return _batches(self)

    def clusters(self) -> list[int]:
        """Windows of one file hang together."""
        return source_text.sources("test", self.num_examples, self._window)

    def outcomes(self, backbone: CausalLMBackbone, batch: TextBatch) -> Tensor:
        """Bits per byte of each continuation: float32 [B]."""
        logits_BQV = backbone.continuation_logits(batch.context, batch.fed).cpu()
        losses_BQ = functional.cross_entropy(
            logits_BQV.transpose(1, 2), batch.continuation, reduction="none"
        )
        return losses_BQ.mean(1) / math.log(2)

    def predict(self, backbone: CausalLMBackbone, batch: TextBatch) -> list[dict[str, Any]]:
        """Per window: `bits_per_byte` of its continuation."""
        return [{"bits_per_byte": value} for value in self.outcomes(backbone, batch).tolist()]

    def readable(self, batch: TextBatch) -> dict[str, Any]:
        """The end of the context, and the continuation."""
        return {
            "context_ends": _decoded(batch.context[0, -_SHOWN_BYTES:]),
            "continuation": _decoded(batch.continuation[0]),
        }

    def words(self, batch: TextBatch) -> list[str]:
        """The context, byte by byte."""
        start, *rest = batch.context[0].tolist()
        assert start == source_text.START
        return ["⊢", *(_decoded(torch.tensor([byte])) for byte in rest)]

    def batch_of(self, inputs: dict[str, Any]) -> TextBatch:
        """`{"example": 7}` of the test stream, or `{"text": "..."}`, whose end is scored."""
        key = only_key(inputs, ("example", "text"))
        if key == "example":
            return only_row(self, inputs[key])
        return self._split(torch.tensor([[source_text.START, *self._bytes(inputs[key])]]))

    @property
    def _window(self) -> int:
        """Tokens of an example: context, the byte between and continuation."""
        return self.context_length + 1 + self.continuation_length

    def _split(self, window_BT: Tensor) -> TextBatch:
        scored = self.continuation_length
        return TextBatch(
            window_BT[:, : -scored - 1], window_BT[:, -scored - 1 : -1], window_BT[:, -scored:]
        )

    def _bytes(self, value: Any) -> bytes:
        """A request's text, checked."""
        if not isinstance(value, str):
            raise ValueError(f"text must be a string; got {type(value).__name__}")
        content = value.encode("utf-8", errors="replace")
        shortest, longest = self.continuation_length + 1, self._window - 1
        if not shortest <= len(content) <= longest:
            raise ValueError(
                f"text must have {shortest} to {longest} bytes in UTF-8; got {len(content)}"
            )
        return content


def _decoded(tokens_T: Tensor) -> str:
    kept = [token for token in tokens_T.tolist() if token != source_text.START]
    return bytes(kept).decode("utf-8", errors="replace")


@lru_cache(maxsize=4)
def _batches(task: Text) -> list[TextBatch]:
    windows = torch.from_numpy(source_text.stream("test", task.num_examples, task._window))
    return [task._split(part) for part in torch.split(windows, task.batch_size)]
