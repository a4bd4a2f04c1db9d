"""What a method that shortens prompts may look at.

Shapes: B sequences, N tokens that may go, H query heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import Tensor

from methods.contexts import TokenContext
from methods.places import Place


class PromptView(Protocol):
    """What the model itself makes of the prompt; nothing is computed before it is asked for."""

    def surprisal(self) -> Tensor:
        """Self-information of every token given those before it, float [B, N], in nats.

        The first token's is 0. One forward pass through the whole model.
        """
        ...

    def last_query_logits(self, layer: int) -> Tensor:
        """Scaled products of the last prompt token's query with every key in ``layer``, [B, H, N].

        Only layers 0 to ``layer`` are run.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class PromptContext(TokenContext):
    """A prompt that nobody has read yet, without its last token, which is always kept.

    ``tokens_BN`` (long) are the words; W must be one-hot, for words cannot be mixed. What is kept
    is read as a prompt of its own, at new positions.
    """

    places: ClassVar[tuple[Place, ...]] = ("prompt",)

    tokens_BN: Tensor
    view: PromptView
