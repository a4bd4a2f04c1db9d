"""TempScale: ToMe with a temperature in the attention of the blocks that follow a reduction.

"Length-Induced Embedding Collapse in Transformer-based Models" (arXiv:2410.24200) divides attention
logits by a temperature below 1, because softmax attention averages tokens (a low-pass filter) and
so draws them together, the more so the flatter it is. The paper does that in text embedding models,
for long inputs, in every layer, and reduces no tokens; no official code could be found.

That a temperature belongs to token reduction at all is our reading: fewer tokens change the entropy
of the softmax, and merged tokens are averages already. Tokens are merged as in ToMe
(arXiv:2210.09461) with its proportional attention, and only the blocks that see fewer tokens than
there were get the temperature, so that a keep ratio of 1 is the model itself. The paper chooses its
temperature per model; the default here is ours.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from methods.base import Paper
from methods.vision.tome import ToMe


class TempScale(ToMe):
    """Token merging, then sharper attention."""

    paper: ClassVar[Paper | None] = Paper(
        title="Length-Induced Embedding Collapse in Transformer-based Models",
        arxiv="2410.24200",
    )

    temperature: float = Field(
        default=0.9,
        gt=0,
        description="What attention logits are divided by after a reduction; below 1 is sharper.",
    )

    def attention_scale(self, num_in: int, num_now: int) -> float:  # noqa: ARG002
        """One over the temperature, however many tokens are left."""
        return 1 / self.temperature
