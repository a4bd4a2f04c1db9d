"""DivPrune: keep the subset of tokens whose closest pair is as far apart as possible.

"DivPrune: Diversity-based Visual Token Pruning for Large Multimodal Models" (arXiv:2503.02175),
greedy max-min diversity over cosine distances. Official code: github.com/vbdi/divprune
(``LLaVA/llava/model/llava_arch.py``). It starts with the token whose nearest neighbour is farthest
and then adds, one at a time, the token that is farthest from everything selected.

Where we differ:

- It prunes whatever it is attached to. The paper prunes the projected visual embeddings once,
  before the language model; in a vision tower distances are between a block's hidden states, after
  attention.
- A selected token is never selected twice; in the official code that can happen once only exact
  duplicates are left. Equal distances are settled for the earlier token.
"""

from __future__ import annotations

from typing import ClassVar

from methods.base import Paper, TokenMethod
from methods.contexts import FeatureContext
from methods.transform import TokenTransform
from methods.vision._clusters import cosine_distances, max_min_selection


class DivPrune(TokenMethod[FeatureContext]):
    """Prunes to a diverse subset; looks at no attention and at no class token."""

    paper: ClassVar[Paper | None] = Paper(
        title="DivPrune: Diversity-based Visual Token Pruning for Large Multimodal Models",
        arxiv="2503.02175",
        code="https://github.com/vbdi/divprune",
        catalogue="divprune",
    )

    def transform(self, ctx: FeatureContext) -> TokenTransform:
        """Prune to the greedy max-min selection, in the original order."""
        selected_BK = max_min_selection(cosine_distances(ctx.hidden_BND), ctx.num_keep)
        return TokenTransform.keep(selected_BK.sort(1).values, ctx.num_in)
