"""AIM: merge before the language model, prune inside by PageRank.

"AIM: Adaptive Inference of Multi-Modal LLMs via Token Merging and Pruning" (arXiv:2412.03248).
At the doorstep the tokens of every image are merged with ToMe's bipartite matching (cosine of the
embeddings), round by round, each halving them. Inside, the importance of a token is its PageRank:
every head's attention matrix, sharpened with a temperature of 0.1, is a random walk over all
tokens, five steps from the uniform distribution; heads are combined by their root mean square. The
most important visual tokens stay, fewer and fewer from layer to layer; text is never pruned.
Official code: github.com/LaVi-Lab/AIM (``llava_arch.py``; ``modeling_qwen2.py``,
``get_importance``).

Where we differ:

- All text tokens are one page of the walk: a context tells how much attention goes to text, not to
  which token of it. Attention is sharpened as if that much went to one token.
- Merged tokens are averaged by size; the official code averages the averages of earlier rounds.
- The official setting merges to a quarter and then prunes in eighths between one half and three
  quarters of the depth until no visual token is left. Here the doorstep makes half of the cut (on
  a logarithmic scale), three stages over the same depths make the rest, and one token is the least.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from methods.base import Paper, TokenMethod, top_indices
from methods.contexts import VisualContext
from methods.schedule import Schedule, Stages
from methods.transform import TokenTransform
from methods.vlm._bipartite import merge_each_image
from methods.vlm._budgets import even_budgets


class AIM(TokenMethod[VisualContext]):
    """Halving merges at the doorstep, PageRank pruning inside."""

    paper: ClassVar[Paper | None] = Paper(
        title="AIM: Adaptive Inference of Multi-Modal LLMs via Token Merging and Pruning",
        arxiv="2412.03248",
        code="https://github.com/LaVi-Lab/AIM",
        catalogue="aim-adaptive",
    )
    home: ClassVar[Schedule] = Stages(depths=(0, 0.5, 0.625, 0.75), shares=(3, 1, 1, 1))

    steps: int = Field(default=5, ge=1, description="Steps of the random walk.")
    temperature: float = Field(
        default=0.1, gt=0, description="Of the softmax over attention logits; 1 leaves them alone."
    )

    def transform(self, ctx: VisualContext) -> TokenTransform:
        """Merge at layer 0, prune behind."""
        if ctx.visual_T is None:
            return merge_each_image(ctx, ctx.hidden_BND.float(), even_budgets(ctx))
        return TokenTransform.keep(top_indices(self.importance(ctx), ctx.num_keep), ctx.num_in)

    def importance(self, ctx: VisualContext) -> Tensor:
        """PageRank of every visual token in the previous layer, [B, N]."""
        walk_BHPP = self._walk(ctx)
        num_tokens = walk_BHPP.new_tensor(ctx.num_in + len(ctx.question_Q))
        rank_BH1P = walk_BHPP.new_ones(*walk_BHPP.shape[:2], 1, ctx.num_in + 1) / num_tokens
        rank_BH1P[..., -1] *= len(ctx.question_Q)
        for _ in range(self.steps):
            rank_BH1P = rank_BH1P @ walk_BHPP
        return rank_BH1P[:, :, 0, :-1].square().mean(1).sqrt()

    def _walk(self, ctx: VisualContext) -> Tensor:
        """Transition probabilities between N visual pages and the text's, [B, H, N + 1, N + 1]."""
        assert ctx.attention_BHTN is not None
        to_visual_BHTN = ctx.attention_BHTN.float()
        to_text_BHT1 = (1 - to_visual_BHTN.sum(-1, keepdim=True)).clamp_min(0)
        attention_BHTP = torch.cat([to_visual_BHTN, to_text_BHT1], -1)
        tiny = torch.finfo(attention_BHTP.dtype).tiny
        # In place: it is a matrix of tokens by tokens for every head.
        sharp_BHTP = attention_BHTP.clamp_min_(tiny).log_().div_(self.temperature).softmax(-1)
        from_text_BH1P = sharp_BHTP[:, :, ctx.num_in :].mean(2, keepdim=True)
        sharp_BHTP[:, :, ctx.num_in : ctx.num_in + 1] = from_text_BH1P
        return sharp_BHTP[:, :, : ctx.num_in + 1]
