"""The sparse matrix W of one compression step, X' = W X.

Token Transforming (arXiv:2506.05709) writes every reduction of tokens as a matrix: one-hot rows
prune, one non-zero per column merges, dense rows transform. Everything the platform needs to know
about a step is read from W and never from the method that made it.

Shapes: B independent sequences (for a cache: sequence times key/value head), N tokens in, K tokens
out, Z stored non-zeros, D channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class TokenTransform:
    """W for a batch of sequences, stored as its non-zeros.

    ``rows`` and ``cols`` are long [B, Z], ``weights`` is floating [B, Z]; entry z puts
    ``weights[b, z]`` times input token ``cols[b, z]`` into output token ``rows[b, z]``. Sequences
    with fewer non-zeros than their neighbours are padded with weight 0. Rows are convex: their
    weights are not negative and sum to 1. ``gains`` [B, K], where given, multiply the output
    tokens: the one thing about a merge that no convex row can say is its length.
    """

    rows: Tensor
    cols: Tensor
    weights: Tensor
    num_in: int
    num_out: int
    gains: Tensor | None = None

    @classmethod
    def identity(
        cls, batch: int, num_in: int, device: torch.device | None = None
    ) -> TokenTransform:
        """Every token kept as it is."""
        tokens = torch.arange(num_in, device=device).expand(batch, -1)
        return cls(tokens, tokens, torch.ones(batch, num_in, device=device), num_in, num_in)

    @classmethod
    def keep(cls, indices_BK: Tensor, num_in: int) -> TokenTransform:
        """Prune to the tokens ``indices_BK`` (long), in that order."""
        batch, num_out = indices_BK.shape
        rows = torch.arange(num_out, device=indices_BK.device).expand(batch, -1)
        weights = torch.ones(batch, num_out, device=indices_BK.device)
        return cls(rows, indices_BK, weights, num_in, num_out)

    @classmethod
    def merge(cls, rows_BN: Tensor, weights_BN: Tensor, num_out: int) -> TokenTransform:
        """Average tokens that share an output row.

        ``rows_BN`` (long, 0..num_out-1) names the row of every input token; ``weights_BN`` are
        relative weights above 0, for example token sizes. Every row needs at least one token.
        """
        batch, num_in = rows_BN.shape
        cols = torch.arange(num_in, device=rows_BN.device).expand(batch, -1)
        totals_BK = weights_BN.new_zeros(batch, num_out).scatter_add(1, rows_BN, weights_BN)
        shares_BN = weights_BN / totals_BK.gather(1, rows_BN)
        return cls(rows_BN, cols, shares_BN, num_in, num_out)

    @classmethod
    def mix(cls, weights_BKN: Tensor) -> TokenTransform:
        """Many to many: every output token an average of any input tokens.

        ``weights_BKN`` are relative weights within a row, not negative, not all 0 in any row.
        """
        batch, num_out, num_in = weights_BKN.shape
        entries = torch.arange(num_out * num_in, device=weights_BKN.device).expand(batch, -1)
        shares_BKN = weights_BKN / weights_BKN.sum(2, keepdim=True)
        return cls(entries // num_in, entries % num_in, shares_BKN.flatten(1), num_in, num_out)

    @property
    def batch(self) -> int:
        """Number of sequences B."""
        return self.rows.shape[0]

    @property
    def merges(self) -> bool:
        """Whether any output token may hold more than one input token."""
        return self.weights.shape[1] > self.num_out

    def __call__(self, x_BND: Tensor) -> Tensor:
        """W X, times the gains: [B, N, D] to [B, K, D], in the dtype of ``x_BND``."""
        width = x_BND.shape[-1]
        cols = self.cols[..., None].expand(-1, -1, width)
        rows = self.rows[..., None].expand(-1, -1, width)
        parts_BZD = x_BND.gather(1, cols) * self.weights[..., None].to(x_BND.dtype)
        out_BKD = x_BND.new_zeros(x_BND.shape[0], self.num_out, width)
        out_BKD.scatter_add_(1, rows, parts_BZD)
        return out_BKD if self.gains is None else out_BKD * self.gains[..., None].to(x_BND.dtype)

    def dense(self) -> Tensor:
        """W as [B, K, N]."""
        flat = self.weights.new_zeros(self.batch, self.num_out * self.num_in)
        flat.scatter_add_(1, self.rows * self.num_in + self.cols, self.weights)
        return flat.view(self.batch, self.num_out, self.num_in)

    def sizes(self, sizes_BN: Tensor) -> Tensor:
        """How many original tokens each output token stands for, [B, K].

        A token that several rows share is divided between them in proportion to their weights; a
        pruned token is nobody's.
        """
        column_sums_BN = self.weights.new_zeros(self.batch, self.num_in)
        column_sums_BN.scatter_add_(1, self.cols, self.weights)
        shares_BZ = self.weights / column_sums_BN.gather(1, self.cols).clamp_min(
            torch.finfo(self.weights.dtype).tiny
        )
        sizes_BK = sizes_BN.new_zeros(self.batch, self.num_out)
        return sizes_BK.scatter_add_(1, self.rows, shares_BZ * sizes_BN.gather(1, self.cols))

    def unmerge(self, x_BKD: Tensor) -> Tensor:
        """Spread output tokens back over their inputs: [B, K, D] to [B, N, D].

        An input token receives the average of the rows it went into, by weight; a pruned token
        receives zeros.
        """
        dense_BKN = self.dense().to(x_BKD.dtype)
        column_sums_BN = dense_BKN.sum(1).clamp_min(torch.finfo(x_BKD.dtype).tiny)
        return (dense_BKN / column_sums_BN[:, None]).transpose(1, 2) @ x_BKD
