"""The sparse matrix W of one compression step, X' = W X.

Token Transforming (arXiv:2506.05709) writes every reduction of tokens as a matrix: one-hot rows
prune, one non-zero per column merges, dense rows transform. Everything the platform needs to know
about a step is read from W and never from the method that made it.

Shapes: B independent sequences (for a cache: sequence times key/value head), N tokens in, K tokens
out, Z stored non-zeros, D channels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

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
    form: Literal["any", "aligned", "full"] = "any"
    """What is known of the entries' order, so that nothing has to be looked up: ``aligned``, entry
    z belongs to input token z, one each; ``full``, all K N entries, row by row."""

    @classmethod
    def identity(
        cls, batch: int, num_in: int, device: torch.device | None = None
    ) -> TokenTransform:
        """Every token kept as it is."""
        tokens = torch.arange(num_in, device=device).expand(batch, -1)
        ones = torch.ones(batch, num_in, device=device)
        return cls(tokens, tokens, ones, num_in, num_in, form="aligned")

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
        return cls(rows_BN, cols, shares_BN, num_in, num_out, form="aligned")

    @classmethod
    def mix(cls, weights_BKN: Tensor) -> TokenTransform:
        """Many to many: every output token an average of any input tokens.

        ``weights_BKN`` are relative weights within a row, not negative, not all 0 in any row.
        """
        return cls.full(weights_BKN / weights_BKN.sum(2, keepdim=True))

    @classmethod
    def full(cls, shares_BKN: Tensor) -> TokenTransform:
        """A matrix as it is: its rows are convex already."""
        batch, num_out, num_in = shares_BKN.shape
        rows_KN = torch.arange(num_out, device=shares_BKN.device)[:, None].expand(-1, num_in)
        cols_KN = torch.arange(num_in, device=shares_BKN.device).expand(num_out, -1)
        return cls(
            rows_KN.flatten().expand(batch, -1),
            cols_KN.flatten().expand(batch, -1),
            shares_BKN.flatten(1),
            num_in,
            num_out,
            form="full",
        )

    @property
    def batch(self) -> int:
        """Number of sequences B."""
        return self.rows.shape[0]

    @property
    def merges(self) -> bool:
        """Whether any output token may hold more than one input token."""
        return self.weights.shape[1] > self.num_out

    @property
    def kept(self) -> Tensor:
        """The input token of every output token, long [B, K], where no token is merged."""
        return torch.empty_like(self.cols).scatter_(1, self.rows, self.cols)

    def __call__(self, x_BND: Tensor) -> Tensor:
        """W X, times the gains: [B, N, D] to [B, K, D], in the dtype of ``x_BND``."""
        if not self.merges:
            out_BKD = rows_of(x_BND, self.kept)
        elif self.weights.shape[1] > self.num_in:
            out_BKD = self.dense().to(x_BND.dtype) @ x_BND
        else:
            out_BKD = self._summed(x_BND)
        return out_BKD if self.gains is None else out_BKD * self.gains[..., None].to(x_BND.dtype)

    def _summed(self, x_BND: Tensor) -> Tensor:
        """Rows added up one after the other, in the order of the entries."""
        entries_BZD = x_BND if self.form == "aligned" else rows_of(x_BND, self.cols)
        parts_BZD = entries_BZD * self.weights[..., None].to(x_BND.dtype)
        # One flat axis of whole rows: several times as fast as scattering single numbers.
        firsts_B1 = torch.arange(self.batch, device=self.rows.device)[:, None] * self.num_out
        out_FD = x_BND.new_zeros(self.batch * self.num_out, x_BND.shape[2])
        out_FD = out_FD.index_add_(0, (self.rows + firsts_B1).flatten(), parts_BZD.flatten(0, 1))
        return out_FD.view(self.batch, self.num_out, x_BND.shape[2])

    def dense(self) -> Tensor:
        """W as [B, K, N]."""
        if self.form == "full":
            return self.weights.view(self.batch, self.num_out, self.num_in)
        flat = self.weights.new_zeros(self.batch, self.num_out * self.num_in)
        flat.scatter_add_(1, self.rows * self.num_in + self.cols, self.weights)
        return flat.view(self.batch, self.num_out, self.num_in)

    def reordered(self, order_BK: Tensor) -> TokenTransform:
        """The W whose row k is row ``order_BK[k]`` of this one."""
        gains_BK = None if self.gains is None else self.gains.gather(1, order_BK)
        if self.form == "full":
            weights_BZ = rows_of(self.dense(), order_BK).flatten(1)
            return replace(self, weights=weights_BZ, gains=gains_BK)
        rows_BZ = order_BK.argsort(1).gather(1, self.rows)
        return replace(self, rows=rows_BZ, gains=gains_BK)

    def sizes(self, sizes_BN: Tensor) -> Tensor:
        """How many original tokens each output token stands for, [B, K].

        A token that several rows share is divided between them in proportion to their weights; a
        pruned token is nobody's.
        """
        sizes_BK = sizes_BN.new_zeros(self.batch, self.num_out)
        if self.form == "aligned":
            return sizes_BK.scatter_add_(1, self.rows, sizes_BN * (self.weights > 0))
        column_sums_BN = self.weights.new_zeros(self.batch, self.num_in)
        column_sums_BN.scatter_add_(1, self.cols, self.weights)
        shares_BZ = self.weights / column_sums_BN.gather(1, self.cols).clamp_min(
            torch.finfo(self.weights.dtype).tiny
        )
        return sizes_BK.scatter_add_(1, self.rows, shares_BZ * sizes_BN.gather(1, self.cols))

    def unmerge(self, x_BKD: Tensor) -> Tensor:
        """Spread output tokens back over their inputs: [B, K, D] to [B, N, D].

        An input token receives the average of the rows it went into, by weight; a pruned token
        receives zeros.
        """
        dense_BKN = self.dense().to(x_BKD.dtype)
        column_sums_BN = dense_BKN.sum(1).clamp_min(torch.finfo(x_BKD.dtype).tiny)
        return (dense_BKN / column_sums_BN[:, None]).transpose(1, 2) @ x_BKD


def rows_of(x_BND: Tensor, indices_BK: Tensor) -> Tensor:
    """Rows by index, [B, K, D]; whole rows are copied at a time, which ``gather`` does not do."""
    if len(indices_BK) == 1:
        return x_BND[0].index_select(0, indices_BK[0])[None]
    batch_B1 = torch.arange(len(indices_BK), device=indices_BK.device)[:, None]
    return x_BND[batch_B1, indices_BK]
