"""ToDRE: a diverse subset at the doorstep; inside the language model, what the text still reads.

arXiv:2505.18757. Stage 1 starts with the token that the class token attends to most in the vision
tower's last layer (of the thumbnail, where there is one) and adds tokens one at a time:

- ``max-sum``, the second version ("ToDRE: Effective Visual Token Pruning via Token Diversity and
  Task Relevance"), eq. 4 and algorithm 1: the token whose cosine similarities to the selected ones
  have the lowest sum;
- ``k-center``, the first version ("ToDRE: Visual Token Pruning via Diversity and Task Awareness for
  Efficient Large Vision-Language Models"): the token farthest from the nearest selected one. That
  text was not at hand; cosine distance and the same first token are our reading.

Stage 2 removes all visual tokens behind one deep layer (7/8 of them), if the text attends to them
and they to the text with less than a threshold of their attention (eq. 8). No official code.

Where we differ: a budget decides instead of the threshold, and no budget here is zero. At a cut
inside the language model the tokens with the most attention from the text (the terms of the sum in
eq. 8, per token) outlive the others; the paper has no order among them, because all go. A schedule
that keeps them until a deep layer and one token from there on is the paper's stage 2 alone.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize

from methods.base import Paper, TokenMethod, top_indices
from methods.contexts import VisualContext
from methods.transform import TokenTransform
from methods.vlm._budgets import image_of
from methods.vlm._language import attention_from_text
from methods.vlm._tower import class_attention


class ToDRE(TokenMethod[VisualContext]):
    """Prunes by diversity at the doorstep and by the text's attention inside."""

    version: ClassVar[int] = 2
    paper: ClassVar[Paper | None] = Paper(
        title="ToDRE: Visual Token Pruning via Diversity and Task Awareness for Efficient Large "
        "Vision-Language Models",
        arxiv="2505.18757",
        catalogue="todre",
    )
    needs_cls: ClassVar[bool] = True

    selection: Literal["max-sum", "k-center"] = Field(
        default="max-sum",
        description="How diversity is sought: the paper's second version's way or the first's.",
    )

    def tower_layers(self, num_layers: int, _selected: int, /) -> frozenset[int]:
        """The tower's last layer, whose class attention is read."""
        return frozenset({num_layers - 1})

    def transform(self, ctx: VisualContext) -> TokenTransform:
        """Stage 1 or stage 2, depending on where the cut is."""
        kept_BK = self._diverse(ctx) if ctx.layer == 0 else _read_by_text(ctx)
        return TokenTransform.keep(kept_BK, ctx.num_in)

    def _diverse(self, ctx: VisualContext) -> Tensor:
        directions_BND = normalize(ctx.hidden_BND.float(), dim=-1)
        cosines_BNN = directions_BND @ directions_BND.mT
        # Both greedy rules take the token with the lowest combined similarity; with its own row a
        # selected one gets to infinity, where it stays under both.
        cosines_BNN.diagonal(dim1=1, dim2=2).fill_(torch.inf)
        rows_RN = cosines_BNN.flatten(0, 1)
        starts_B = torch.arange(ctx.batch, device=ctx.device) * ctx.num_in
        combine = torch.add if self.selection == "max-sum" else torch.maximum
        selected = [first_token(ctx)[:, 0]]
        combined_BN = rows_RN.index_select(0, selected[-1] + starts_B)
        while len(selected) < ctx.num_keep:
            selected.append(combined_BN.argmin(1))
            newest_BN = rows_RN.index_select(0, selected[-1] + starts_B)
            combined_BN = combine(combined_BN, newest_BN)
        return torch.stack(selected, 1).sort(1).values


def first_token(ctx: VisualContext) -> Tensor:
    """The most attended token of the last tower layer, of the thumbnail if there is one, [B, 1]."""
    attention_BN = class_attention(ctx, -1)
    if ctx.layout.kind == "crops":
        attention_BN = attention_BN - (image_of(ctx) > 0).float()
    return attention_BN.argmax(1, keepdim=True)


def _read_by_text(ctx: VisualContext) -> Tensor:
    return top_indices(attention_from_text(ctx, "todre").sum(1), ctx.num_keep)
