"""GlobalCom2: the thumbnail's attention divides the budget among crops and helps to rank tokens.

"Compression with Global Guidance: Towards Training-free High-Resolution MLLMs Acceleration"
(arXiv:2501.05179). The thumbnail keeps the tokens with the most class-token attention. A crop's
ratio is the thumbnail's times 1 + s - mean(s), where s is a softmax over crops of the thumbnail's
attention in the crop's region over a temperature. Within a crop tokens are ranked by their own
crop's class-token attention plus the thumbnail's, interpolated to their place, each divided by its
L2 norm over the crop. Official code: github.com/xuyang-liu16/GlobalCom2
(``llava/model/llava_arch.py``), ratio 0.25, temperature 10.

Where we differ, or the paper and its code do:

- The code's regions sum class-token *logits*. Their mean over heads is the mean log attention up to
  a constant, which a softmax over regions of equal size does not see; so the shares here are the
  code's. Regions of different size are compared by their mean, scaled to equal size.
- The code ranks by logits too. Here tokens are ranked by attention itself, as the paper writes it.
- Attention is that of the layer whose output is projected; the code takes the last layer's.
- Budgets are in proportion to the ratios and add up exactly; a crop cannot exceed its tokens.
- No padding is cut from the crops' rim. Without a thumbnail every image is its own: all keep the
  same number of tokens by their own attention.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import interpolate, normalize, one_hot

from methods.base import Paper
from methods.contexts import VisualContext
from methods.vlm._budgets import even_budgets, exact_budgets, tokens_per_image
from methods.vlm._selection import PerImageMethod
from methods.vlm._tower import at_origin


class GlobalCom2(PerImageMethod):
    """Prunes thumbnail and crops, each crop by its share of the thumbnail's attention."""

    paper: ClassVar[Paper | None] = Paper(
        title="Compression with Global Guidance: Towards Training-free High-Resolution MLLMs "
        "Acceleration",
        arxiv="2501.05179",
        code="https://github.com/xuyang-liu16/GlobalCom2",
        catalogue="globalcom2",
    )
    needs_cls: ClassVar[bool] = True
    needs_tower: ClassVar[bool] = True

    temperature: float = Field(
        default=10.0, gt=0, description="Divides a region's sum before softmax; low favours few."
    )

    def score(self, ctx: VisualContext) -> Tensor:
        """Own attention plus the thumbnail's, both of length 1 over an image, [B, N]."""
        own_BIP = _attention(ctx)
        seen_BIP = _thumbnail_over_crops(own_BIP, ctx) if ctx.layout.crop_grid else own_BIP
        return at_origin(normalize(own_BIP, dim=2) + normalize(seen_BIP, dim=2), ctx)

    def budgets(self, ctx: VisualContext) -> Tensor:
        """Tokens of the thumbnail and of every crop, long [B, I]."""
        if ctx.layout.crop_grid is None:
            return even_budgets(ctx)
        crops_BC = crop_ratios(_attention(ctx)[:, 0], ctx, self.temperature)
        weights_BI = torch.cat([torch.ones_like(crops_BC[:, :1]), crops_BC], 1)
        return exact_budgets(weights_BI, tokens_per_image(ctx), ctx.num_keep)


def crop_ratios(thumbnail_BP: Tensor, ctx: VisualContext, temperature: float) -> Tensor:
    """Every crop's ratio over the thumbnail's, of mean 1, [B, C]."""
    tiny = torch.finfo(thumbnail_BP.dtype).tiny
    log_BP = thumbnail_BP.clamp_min(tiny).log()
    (rows, columns), (down, across) = ctx.layout.grid, _crop_grid(ctx)
    row_of = _region_of(rows, down, ctx.device)
    column_of = _region_of(columns, across, ctx.device)
    region_P = (row_of[:, None] * across + column_of).flatten()
    members_PC = one_hot(region_P, down * across).to(log_BP.dtype)
    means_BC = log_BP @ members_PC / members_PC.sum(0).clamp_min(1)
    sums_BC = means_BC * rows * columns / (down * across)
    shares_BC = (sums_BC / temperature).softmax(1)
    ratios_BC: Tensor = 1 + shares_BC - shares_BC.mean(1, keepdim=True)
    return ratios_BC


def _region_of(size: int, parts: int, device: torch.device) -> Tensor:
    """Which part each of ``size`` rows lies in; what does not divide goes to the last part."""
    return (torch.arange(size, device=device) // max(size // parts, 1)).clamp_max(parts - 1)


def _thumbnail_over_crops(own_BIP: Tensor, ctx: VisualContext) -> Tensor:
    """The thumbnail's attention at the place of every token, [B, I, P]."""
    (rows, columns), (down, across) = ctx.layout.grid, _crop_grid(ctx)
    thumbnail_B1YX = own_BIP[:, :1].reshape(-1, 1, rows, columns)
    whole_BYX = interpolate(
        thumbnail_B1YX, size=(down * rows, across * columns), mode="bilinear", align_corners=False
    )[:, 0]
    tiles = whole_BYX.reshape(-1, down, rows, across, columns).transpose(2, 3)
    crops_BCP = tiles.reshape(ctx.batch, down * across, rows * columns)
    return torch.cat([own_BIP[:, :1], crops_BCP], 1)


def _attention(ctx: VisualContext) -> Tensor:
    return ctx.tower.cls_attention_LBIHP[ctx.tower.selected].float().mean(2)


def _crop_grid(ctx: VisualContext) -> tuple[int, int]:
    assert ctx.layout.crop_grid is not None
    return ctx.layout.crop_grid
