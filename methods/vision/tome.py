"""ToMe: merge the most similar tokens by bipartite soft matching.

"Token Merging: Your ViT But Faster" (arXiv:2210.09461). Official code:
github.com/facebookresearch/ToMe (``tome/merge.py``, ``tome/patch/timm.py``). Tokens are split
alternately into A and B; each token of A proposes its most similar token of B (cosine of the
block's keys, averaged over heads); the R best proposals are merged, by averages weighted by size;
later blocks add log(size) to attention logits (eq. 1).

Where we differ:

- Protected tokens are held aside before the split. The official code leaves the class token in A
  with similarity minus infinity, so that its patches alternate the other way round: B starts with
  patch 0 there and with patch 1 here.
- A cut of more than half of the tokens repeats the matching on the merged tokens with the same
  block's keys; the official code caps R at half of the tokens per block.
- Equal similarities are settled for the earlier token; the official sort is unstable.

As in the official code, unmerged tokens of A come first and B follows, which is the order that the
next block's split alternates over.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from methods.base import Paper
from methods.contexts import VisionContext
from methods.vision._rounds import Round, RoundMerging, bipartite_matching


class ToMe(RoundMerging):
    """Token merging with proportional attention; the paper's rounds remove up to half."""

    paper: ClassVar[Paper | None] = Paper(
        title="Token Merging: Your ViT But Faster",
        arxiv="2210.09461",
        code="https://github.com/facebookresearch/ToMe",
    )

    def match(self, ctx: VisionContext, now: Round) -> Tensor:  # noqa: ARG002
        """Bipartite soft matching: the most similar proposals are merged."""
        return bipartite_matching(now.features_BMD, now.num_remove)
