"""Expedit: local clustering of the patch grid, and its own reconstruction for dense prediction.

"Expediting Large-Scale Vision Transformer for Dense Prediction without Fine-tuning"
(arXiv:2210.01035). Official code: github.com/Expedit-LargeScale-Vision-Transformer
(``ops/cluster.py``, ``ops/reconstruction.py``). After block alpha, cluster centres start as the
averages of a coarse h x w grid (adaptive pooling); a few rounds of soft k-means follow, in which a
patch takes part only in the centres whose coarse cell is near its own,

    Q_ij = softmax_i(-tau |x_j - c_i|^2)  over nearby i,   c_i = sum_j Q_ij x_j / sum_j Q_ij

and the blocks behind work on the centres. For dense prediction every patch is rebuilt at the end as
a mix of the k refined centres whose *unrefined* states were nearest to its own, by
softmax(-tau |x_j - c_i|^2).

Where we differ:

- The budget may be any number: h coarse rows, the aspect of the grid kept as well as possible, each
  divided into as many cells as bring the total to the budget (they differ by one at most). Where
  the budget is such an h x w, this is the paper's adaptive pooling.
- The paper clusters once. A schedule that clusters in several layers blurs tokens again and again;
  where earlier reductions have left no grid, the tokens count as one long row.
- Patches count by size, and the last rounds' centres are the tokens as W makes them.
- A centre that no patch takes part in stays what it was; in the official code it becomes zero.
- Reconstruction weights sum to 1; the official code gives them length 1.
- The cut is between attention and MLP of block alpha, the official code's after the block.

The official code uses tau from 0.01 to 1 and five to seven rounds depending on the model; tau
depends on how large a model's activations are.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from methods.base import Paper, TokenMethod
from methods.contexts import VisionContext
from methods.schedule import OneLayer, Schedule
from methods.transform import TokenTransform

LEAST = 1e-16


class ExpeditTokenClustering(TokenMethod[VisionContext]):
    """Soft k-means in a window of the grid; un-merged by nearest centres."""

    version: ClassVar[int] = 2
    paper: ClassVar[Paper | None] = Paper(
        title="Expediting Large-Scale Vision Transformer for Dense Prediction without Fine-tuning",
        arxiv="2210.01035",
        code="https://github.com/Expedit-LargeScale-Vision-Transformer",
        catalogue="expedit-token-clustering",
    )
    home: ClassVar[Schedule] = OneLayer(layer=2)

    rounds: int = Field(default=5, ge=1, description="Rounds of k-means.")
    reach: int = Field(
        default=2,
        ge=1,
        description="How many coarse cells away a centre may be from a patch's own; the paper's "
        "window is twice this plus 1.",
    )
    tau: float = Field(
        default=1.0, gt=0, description="Factor on squared distances; larger is harder clustering."
    )
    num_neighbors: int = Field(
        default=3, ge=1, description="Centres that a patch is rebuilt from in dense prediction."
    )
    tau_rebuilt: float = Field(
        default=0.05, gt=0, description="Factor on squared distances when patches are rebuilt."
    )

    def transform(self, ctx: VisionContext) -> TokenTransform:
        """Cluster; rows follow the coarse grid in reading order."""
        hidden_BND = ctx.hidden_BND.float()
        cells = coarse_cells(ctx.grid or (1, ctx.num_in), ctx.num_keep, ctx.device)
        near_KN = cells.near(self.reach)
        shares_BKN = _rows(cells.inside_KN.float() * ctx.sizes_BN[:, None])
        for _ in range(self.rounds):
            shares_BKN = self.assigned(hidden_BND, shares_BKN, near_KN, ctx.sizes_BN)
        return TokenTransform.full(shares_BKN)

    def assigned(
        self, hidden_BND: Tensor, shares_BKN: Tensor, near_KN: Tensor, sizes_BN: Tensor
    ) -> Tensor:
        """One round: how much of every centre is made of every patch, rows sum to 1, [B, K, N]."""
        distances_BKN = squared_distances(shares_BKN @ hidden_BND, hidden_BND)
        taken_BKN = (-self.tau * distances_BKN).masked_fill(~near_KN, -torch.inf).softmax(1)
        taken_BKN = taken_BKN * sizes_BN[:, None]
        deserted_BK1 = taken_BKN.sum(2, keepdim=True) < LEAST
        return torch.where(deserted_BK1, shares_BKN, _rows(taken_BKN))

    def unmerge_weights(self, ctx: VisionContext, transform: TokenTransform) -> Tensor:
        """The nearest centres of every patch, by their states at the cut, [B, N, K]."""
        hidden_BND = ctx.hidden_BND.float()
        distances_BNK = squared_distances(hidden_BND, transform(hidden_BND))
        num = min(self.num_neighbors, transform.num_out)
        nearest = distances_BNK.topk(num, dim=-1, largest=False)
        weights_BNk = (-self.tau_rebuilt * nearest.values).softmax(-1)
        return torch.zeros_like(distances_BNK).scatter(2, nearest.indices, weights_BNk)


class Cells(NamedTuple):
    """The coarse grid: K cells in reading order over N patches.

    ``inside_KN`` says which patches a cell's starting average is taken over; ``down_KN`` and
    ``across_KN`` count the cells between a patch's own and every other one.
    """

    inside_KN: Tensor
    down_KN: Tensor
    across_KN: Tensor

    def near(self, reach: int) -> Tensor:
        """Which patches are within ``reach`` cells of each cell, both ways, bool [K, N]."""
        return (self.down_KN <= reach) & (self.across_KN <= reach)


def coarse_cells(grid: tuple[int, int], num: int, device: torch.device) -> Cells:
    """``num`` cells over a grid of patches (rows, columns) with more patches than that."""
    rows, columns = grid
    bands = min(max(round((num * rows / columns) ** 0.5), -(-num // columns)), rows, num)
    firsts = torch.arange(bands + 1, device=device) * num // bands
    widths_K1 = firsts.diff().repeat_interleave(firsts.diff())[:, None]
    band_K1 = torch.arange(bands, device=device).repeat_interleave(firsts.diff())[:, None]
    column_K1 = torch.arange(num, device=device)[:, None] - firsts[band_K1]
    y_N = torch.arange(rows, device=device).repeat_interleave(columns)
    x_N = torch.arange(columns, device=device).repeat(rows)
    return Cells(
        _inside(y_N, band_K1, bands, rows) & _inside(x_N, column_K1, widths_K1, columns),
        (y_N * bands // rows - band_K1).abs(),
        (x_N * widths_K1 // columns - column_K1).abs(),
    )


def squared_distances(a_BXD: Tensor, b_BYD: Tensor) -> Tensor:
    """Of every pair, [B, X, Y]."""
    squares_BXY = a_BXD.square().sum(2)[..., None] + b_BYD.square().sum(2)[:, None]
    return (squares_BXY - 2 * a_BXD @ b_BYD.mT).clamp_min(0)


def _inside(position_N: Tensor, cell_K1: Tensor, num_cells: Tensor | int, extent: int) -> Tensor:
    """Adaptive pooling: cell i covers floor(i extent / cells) to ceil((i + 1) extent / cells)."""
    first_K1 = cell_K1 * extent // num_cells
    behind_K1 = -(-(cell_K1 + 1) * extent // num_cells)
    return (position_N >= first_K1) & (position_N < behind_K1)


def _rows(weights_BKN: Tensor) -> Tensor:
    """Scaled so that rows sum to 1."""
    return weights_BKN / weights_BKN.sum(2, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
