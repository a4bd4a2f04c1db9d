"""Token-level correlation-guided compression: dense crops keep more, found by two tower layers.

"Token-level Correlation-guided Compression for Efficient Multimodal Document Understanding"
(arXiv:2407.14439). Patches of a crop that resemble many others are redundant; the share of those
that are not is the crop's information density, which decides how many tokens are sampled.
*Global mining* takes the patches whose class-token attention in a deep layer is an outlier
(interquartile range); *local mining* samples patches with the class-token attention of a low layer
as probability, as many as the density allows; both together are kept. The official repository
(github.com/JiuTian-VL/TokenCorrCompressor) has no code, only a figure of this.

Our reading, where figure and summaries leave it open:

- A patch is redundant if the cosine of its keys (low layer, mean over heads) with more than
  ``crowd`` of the other patches exceeds ``similarity``; the paper's thresholds were not at hand.
- Deep is the layer whose output is projected, low a quarter of the tower's depth.
- Sampling is without replacement.

Where we differ: the budgets of all images, thumbnail included, are in proportion to their
densities and add up to the asked number exactly. Outliers come first, those with most attention in
front, so that a small budget has no local tokens.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize

from methods.base import Paper
from methods.contexts import VisualContext
from methods.gumbel import gumbel_like
from methods.vlm._budgets import exact_budgets, tokens_per_image
from methods.vlm._outliers import outliers
from methods.vlm._selection import PerImageMethod, tiered
from methods.vlm._tower import at_origin, class_attention, layer_at


class TokenCorrelationDoc(PerImageMethod):
    """Prunes crops to budgets by density: attention outliers and samples of local attention."""

    version: ClassVar[int] = 2
    paper: ClassVar[Paper | None] = Paper(
        title="Token-level Correlation-guided Compression for Efficient Multimodal Document "
        "Understanding",
        arxiv="2407.14439",
        code="https://github.com/JiuTian-VL/TokenCorrCompressor",
        catalogue="token-correlation-doc",
    )
    needs_cls: ClassVar[bool] = True

    similarity: float = Field(
        default=0.75, ge=-1, le=1, description="Cosine of keys above which patches are alike."
    )
    crowd: float = Field(
        default=0.25,
        ge=0,
        lt=1,
        description="A patch is redundant if it is like more than this share of the others.",
    )
    low_depth: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="Layer of local mining, as a share of the vision tower's layers.",
    )

    def tower_layers(self, num_layers: int, selected: int, /) -> frozenset[int]:
        """The low one and the projected one."""
        return frozenset({layer_at(self.low_depth, num_layers), selected})

    def score(self, ctx: VisualContext) -> Tensor:
        """Outliers of deep attention above draws weighted by low attention, [B, N]."""
        deep_BIP = ctx.tower.cls_attention_LBIHP[ctx.tower.selected].float().mean(2)
        global_BN = at_origin(outliers(deep_BIP), ctx) > 0
        low_BN = class_attention(ctx, layer_at(self.low_depth, ctx.tower.num_layers))
        deep_BN = at_origin(deep_BIP, ctx)
        ranking_BN = deep_BN.log().where(global_BN, _sampling_keys(low_BN, ctx.generator))
        return tiered(global_BN.long(), ranking_BN)

    def budgets(self, ctx: VisualContext) -> Tensor:
        """In proportion to information density, long [B, I]."""
        return exact_budgets(self.density(ctx), tokens_per_image(ctx), ctx.num_keep)

    def density(self, ctx: VisualContext) -> Tensor:
        """Share of patches that are not redundant, in [0, 1], [B, I]."""
        layer = layer_at(self.low_depth, ctx.tower.num_layers)
        keys_BIPD = normalize(ctx.tower.keys_LBIHPD[layer].float().mean(2), dim=-1)
        alike_BIPP = keys_BIPD @ keys_BIPD.transpose(2, 3) > self.similarity
        others = max(alike_BIPP.shape[3] - 1, 1)
        counts_BIP = alike_BIPP.sum(3) - alike_BIPP.diagonal(dim1=2, dim2=3).long()
        return (counts_BIP <= self.crowd * others).float().mean(2)


def _sampling_keys(probabilities_BN: Tensor, generator: torch.Generator) -> Tensor:
    """Keys of which the largest are a sample without replacement (Gumbel top-k)."""
    tiny = torch.finfo(torch.float32).tiny
    return probabilities_BN.clamp_min(tiny).log() + gumbel_like(probabilities_BN, generator)
