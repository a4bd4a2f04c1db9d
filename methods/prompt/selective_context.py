"""Selective Context: keep the words that the model would not have guessed.

"Compressing Context to Enhance Inference Efficiency of Large Language Models" (arXiv:2310.06201),
section 3. Official code: github.com/liyucheng09/Selective_Context. A token's self-information is
-log p(token | tokens before it); the least surprising ones are left out.

Where we differ: tokens are the units. The paper prefers phrases, whose self-information is the sum
over their tokens, and takes them from a parser of English, which other languages and token ids do
not have. The model that will answer judges the tokens, instead of a smaller one.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from methods.base import Paper, ScoringMethod
from methods.prompt._base import PromptContext


class SelectiveContext(ScoringMethod[PromptContext]):
    """Tokens with the largest self-information."""

    paper: ClassVar[Paper | None] = Paper(
        title="Compressing Context to Enhance Inference Efficiency of Large Language Models",
        arxiv="2310.06201",
        code="https://github.com/liyucheng09/Selective_Context",
    )

    keep_first: int = Field(default=1, ge=0, description="First tokens that always stay.")
    keep_last: int = Field(
        default=0, ge=0, description="Tokens before the prompt's last one that always stay."
    )

    def score(self, ctx: PromptContext) -> Tensor:
        """Self-information in nats; infinite for the tokens that stay."""
        scores_BN = ctx.view.surprisal().clone()
        scores_BN[:, : self.keep_first] = torch.inf
        scores_BN[:, ctx.num_in - min(self.keep_last, ctx.num_in) :] = torch.inf
        return scores_BN
