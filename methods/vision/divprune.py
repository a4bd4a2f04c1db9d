"""DivPrune: keep the subset of tokens whose closest pair is as far apart as possible.

"DivPrune: Diversity-based Visual Token Pruning for Large Multimodal Models" (arXiv:2503.02175),
greedy max-min diversity over cosine distances. Official code: github.com/vbdi/divprune
(``LLaVA/llava/model/llava_arch.py``). It starts with the token whose nearest neighbour is farthest
and then adds, one at a time, the token that is farthest from everything selected.

Where we differ:

- Distances are between a block's hidden states, after attention; the paper prunes the projected
  visual embeddings once, before the language model.
- A selected token is never selected twice; in the official code that can happen once only exact
  duplicates are left. Equal distances are settled for the earlier token.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from methods.base import Method, Paper, VisionContext
from methods.transform import TokenTransform


class DivPrune(Method[VisionContext]):
    """Prunes to a diverse subset; looks at no attention and at no class token."""

    paper: ClassVar[Paper | None] = Paper(
        title="DivPrune: Diversity-based Visual Token Pruning for Large Multimodal Models",
        arxiv="2503.02175",
        code="https://github.com/vbdi/divprune",
        catalogue="divprune",
    )

    def transform(self, ctx: VisionContext) -> TokenTransform:
        """Prune to the greedy max-min selection, in the original order."""
        directions_BND = normalize(ctx.hidden_BND.float(), dim=-1)
        distances_BNN = 1 - directions_BND @ directions_BND.transpose(1, 2)
        selected_BK = max_min_selection(distances_BNN, ctx.num_keep)
        return TokenTransform.keep(selected_BK.sort(1).values, ctx.num_in)


def max_min_selection(distances_BNN: Tensor, num_keep: int) -> Tensor:
    """Greedy solution of the max-min diversity problem, [B, num_keep] in order of selection.

    Every step costs O(N): the distance to the selection is updated with the newest member's row.
    """
    to_others_BNN = distances_BNN.diagonal_scatter(
        distances_BNN.new_full(distances_BNN.shape[:2], torch.inf), dim1=1, dim2=2
    )
    selected = [to_others_BNN.amin(2).argmax(1, keepdim=True)]
    to_selection_BN = torch.full_like(distances_BNN[:, 0], torch.inf)
    for _ in range(num_keep - 1):
        newest_B1N = selected[-1][..., None].expand(-1, 1, distances_BNN.shape[2])
        to_newest_BN = distances_BNN.gather(1, newest_B1N)[:, 0]
        to_selection_BN = torch.minimum(to_selection_BN, to_newest_BN)
        to_selection_BN.scatter_(1, selected[-1], -torch.inf)
        selected.append(to_selection_BN.argmax(1, keepdim=True))
    return torch.cat(selected, 1)
