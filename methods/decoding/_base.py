"""What guesses tokens ahead, so that one forward pass confirms several."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from methods.base import Method
from methods.places import Place


class Drafter(Method):
    """Drafts the next tokens of one sequence; the model keeps those that it would have chosen.

    Speculative decoding (arXiv:2211.17192) with greedy verification: lossless by construction. What
    it saves is sequential steps; operations may even grow, for rejected drafts are computed, too.
    """

    places: ClassVar[tuple[Place, ...]] = ("decoding",)

    num_draft: int = Field(default=10, ge=1, le=256, description="Tokens drafted at most.")

    @property
    def fixed_ratio(self) -> float:
        """Steps per token if every draft is right."""
        return 1 / (1 + self.num_draft)

    @property
    def simulated(self) -> frozenset[str]:
        """Sequences are decoded one at a time, so that less memory is no achievement."""
        return frozenset({"peak_memory", "peak_bytes"})

    def draft(self, tokens_T: Tensor) -> Tensor:
        """What may follow ``tokens_T`` (long): at most ``num_draft`` tokens, perhaps none."""
        raise NotImplementedError
