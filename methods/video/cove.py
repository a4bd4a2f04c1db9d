"""COVE's temporal merging: tokens that correspond to each other across frames become one.

"COVE: Unleashing the Diffusion Feature Correspondence for Consistent Video Editing"
(arXiv:2406.08850), sections 3.2 and 3.3. For every token the most similar token of the next frame
(cosine) is looked for in a window around its place; from there the search goes on to the frame
after, so that correspondence is a chain of steps between neighbouring frames (eq. 4 to 8).
Corresponding tokens are merged (eq. 10). No official code.

Only that merging is here, not the video editing around it: the paper finds correspondences in the
features of a diffusion model and merges the three best per frame as keys of an attention, by half.

Our reading, for a reduction to a budget:

- A token has one correspondent in the next frame. The most similar such links are merged until the
  budget is met, and what is linked to each other becomes one average by size.
- All links together leave one token for every place of the last frame. Below that, the chains are
  merged by bipartite matching (ToMe), which the paper uses to merge correspondents.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize

from methods.base import Paper, TokenMethod
from methods.contexts import VisualContext
from methods.transform import TokenTransform
from methods.video._frames import whole_frames
from methods.vision._rounds import ranks_among
from methods.vlm._bipartite import bipartite_rows


class COVE(TokenMethod[VisualContext]):
    """Merges along the strongest correspondences between neighbouring frames."""

    paper: ClassVar[Paper | None] = Paper(
        title="COVE: Unleashing the Diffusion Feature Correspondence for Consistent Video Editing",
        arxiv="2406.08850",
        catalogue="cove",
    )

    window: int = Field(
        default=9,
        ge=1,
        description="Rows and columns of the next frame in which a correspondent is looked for; an "
        "even number is taken as the next odd one, so that the window has a centre.",
    )

    def transform(self, ctx: VisualContext) -> TokenTransform:
        """Chains of correspondents; a deep cut merges chains with each other."""
        strength_BL, target_BL = self.links(whole_frames(ctx, self.id()), ctx.layout.grid)
        num_links = min(ctx.num_in - ctx.num_keep, strength_BL.shape[1])
        ends_BN = _chain_ends(strength_BL, target_BL, num_links, ctx)
        own = torch.arange(ctx.num_in, device=ctx.device)
        rows_BN = ranks_among(ends_BN == own).gather(1, ends_BN)

        chains = TokenTransform.merge(rows_BN, ctx.sizes_BN, ctx.num_in - num_links)
        features_BCD, sizes_BC = chains(ctx.hidden_BND.float()), chains.sizes(ctx.sizes_BN)
        rows_BN = bipartite_rows(features_BCD, sizes_BC, ctx.num_keep).gather(1, rows_BN)
        return TokenTransform.merge(rows_BN, ctx.sizes_BN, ctx.num_keep)

    def links(self, frames_BFPD: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Cosine and token index (long) of every token's correspondent, [B, L] each.

        L counts the tokens of all frames but the last. Equal cosines: the nearest place in the
        frame, then the earlier one.
        """
        directions_BFPD = normalize(frames_BFPD, dim=-1)
        cosines_BEPP = directions_BFPD[:, :-1] @ directions_BFPD[:, 1:].transpose(2, 3)
        steps_PP = _steps_between(grid, cosines_BEPP.device)
        in_window_PP = 2 * steps_PP <= self.window
        cosines_BEPP = cosines_BEPP.where(in_window_PP, -torch.inf)
        best_BEP1 = cosines_BEPP.amax(3, keepdim=True)
        is_best_BEPP = (cosines_BEPP == best_BEP1) & in_window_PP
        correspondent_BEP = steps_PP.where(is_best_BEPP, sum(grid)).argmin(3)
        num_later = correspondent_BEP.shape[1]
        starts_E1 = torch.arange(1, num_later + 1, device=steps_PP.device)[:, None] * len(steps_PP)
        return best_BEP1.flatten(1), (correspondent_BEP + starts_E1).flatten(1)


def _steps_between(grid: tuple[int, int], device: torch.device) -> Tensor:
    """Distance of two places in rows or columns, whichever is larger, [P, P]."""
    places = torch.arange(grid[0] * grid[1], device=device)
    rows_P, columns_P = places // grid[1], places % grid[1]
    across_PP = (columns_P[:, None] - columns_P).abs()
    return (rows_P[:, None] - rows_P).abs().maximum(across_PP)


def _chain_ends(
    strength_BL: Tensor, target_BL: Tensor, num_links: int, ctx: VisualContext
) -> Tensor:
    """The last token of the chain that each token belongs to, long [B, N].

    Every link leads to a later frame, so that chains end, and each link joins two chains.
    """
    strongest_BL = strength_BL.argsort(dim=1, descending=True, stable=True)[:, :num_links]
    own_BN = torch.arange(ctx.num_in, device=ctx.device).expand(ctx.batch, -1)
    next_BN = own_BN.scatter(1, strongest_BL, target_BL.gather(1, strongest_BL))
    for _ in range((ctx.layout.num_images - 1).bit_length()):
        next_BN = next_BN.gather(1, next_BN)
    return next_BN
