"""GemFilter: an early layer chooses the tokens, the whole model reads only those.

"Discovering the Gems in Early Layers: Accelerating Long-Context LLMs with 1000x Input Token
Reduction" (arXiv:2409.17422), algorithm 1. Official code: github.com/SalesforceAIResearch/GemFilter
(``my_baseline/GemFilter/gem_filter_utils.py``). The layers up to the filter layer read the whole
prompt; the last token's query is multiplied with every key there, the products are summed over
heads and smoothed along the sequence, and the best tokens, in their original order, are the prompt
that the model then reads from scratch.

Where we differ: the prompt's last token is always kept, because the answer begins behind it.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor
from torch.nn.functional import avg_pool1d

from methods.base import Paper, ScoringMethod
from methods.kernels import KernelSize
from methods.prompt._base import PromptContext


class GemFilter(ScoringMethod[PromptContext]):
    """Tokens that the last token's query finds in an early layer."""

    paper: ClassVar[Paper | None] = Paper(
        title="Discovering the Gems in Early Layers: Accelerating Long-Context LLMs with 1000x "
        "Input Token Reduction",
        arxiv="2409.17422",
        code="https://github.com/SalesforceAIResearch/GemFilter",
        catalogue="gemfilter",
    )

    layer: int = Field(
        default=13, ge=0, description="0-based filter layer; 13 is the paper's for Llama 3.1 8B."
    )
    kernel_size: KernelSize = Field(default=5, ge=1, description="Tokens that are averaged; odd.")

    def score(self, ctx: PromptContext) -> Tensor:
        """Products of the last query with the keys, summed over heads and smoothed."""
        logits_BN = ctx.view.last_query_logits(self.layer).float().sum(1)
        padding = self.kernel_size // 2
        smooth = avg_pool1d(logits_BN[:, None], self.kernel_size, stride=1, padding=padding)
        return smooth[:, 0]
