"""What a compression method is, and what it may look at.

A method is a frozen pydantic object: its fields are its hyperparameters, its module's docstring
cites its paper, its folder is the place where it attaches. It turns a context into a
:class:`~methods.transform.TokenTransform`.

Shapes: B sequences, N tokens that may be reduced, H heads, T query positions, G query heads that
share one key/value head, D channels of a head or of the residual stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from methods.transform import TokenTransform


class InfeasibleError(ValueError):
    """A combination that cannot work, found out only while running; the message says why."""


class Paper(BaseModel):
    """Where a method comes from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    arxiv: str | None = None
    """arXiv id without version, for example ``2210.09461``."""
    code: str | None = None
    """Address of the authors' implementation."""
    catalogue: str | None = None
    """Row of ``methods/catalogue.csv``, if the paper is one of its 135 methods."""


@dataclass(frozen=True, kw_only=True)
class TokenContext:
    """One reduction, wherever it happens.

    ``sizes_BN`` (float) says how many original tokens each token stands for; ``num_keep`` is the
    budget, 1 <= num_keep < N; ``generator`` is the only source of randomness a method may use, a
    CPU generator seeded per trial, batch and layer.
    """

    sizes_BN: Tensor
    num_keep: int
    layer: int
    num_layers: int
    generator: torch.Generator

    @property
    def batch(self) -> int:
        """Number of independent sequences B."""
        return self.sizes_BN.shape[0]

    @property
    def num_in(self) -> int:
        """Number of tokens N that may be reduced."""
        return self.sizes_BN.shape[1]

    @property
    def device(self) -> torch.device:
        """Where the tensors live."""
        return self.sizes_BN.device


@dataclass(frozen=True, kw_only=True)
class VisionContext(TokenContext):
    """Patch tokens between attention and MLP of one block. Protected tokens (CLS) are held aside.

    ``hidden_BND`` is the residual stream after attention; ``keys_BHND`` and ``queries_BHND`` are
    that block's own; ``cls_attention_BHN`` is the class token's attention over the patches, taken
    from a softmax over all tokens of the block (so its rows sum to at most 1), or None where the
    model has no class token.
    """

    hidden_BND: Tensor
    keys_BHND: Tensor
    queries_BHND: Tensor
    cls_attention_BHN: Tensor | None


@dataclass(frozen=True, kw_only=True)
class CacheContext(TokenContext):
    """One layer's key/value cache after the prompt was read; B counts (sequence, KV head) pairs.

    ``keys_BND`` and ``values_BND`` are the entries of prompt positions 0..N-1, keys after rotary
    embedding. ``queries_BGTD`` are the queries of prompt positions 0..T-1, after rotary embedding,
    of the G query heads that share this key/value head. T is N, or N + 1 where the prompt's last
    token has been read but its own entry is appended only after compression. ``scaling`` multiplies
    query-key products before softmax. ``num_heads`` is the number of key/value heads; B runs over
    sequences first and heads last, so ``view(-1, num_heads, ...)`` separates the two.
    """

    keys_BND: Tensor
    values_BND: Tensor
    queries_BGTD: Tensor
    scaling: float
    num_heads: int = 1


ContextT = TypeVar("ContextT", bound=TokenContext)


class Method(BaseModel, Generic[ContextT]):
    """A compression method; its fields are its hyperparameters.

    Subclasses live one to a file; the file's name, with dashes, is the method's id, its folder the
    family. Raise ``version`` whenever a change alters numbers: trials measured with the old version
    are then not reused.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: ClassVar[int] = 1
    paper: ClassVar[Paper | None] = None
    """None for controls, which no paper claims."""
    needs_cls: ClassVar[bool] = False
    """Whether the class token's attention is needed; models without one are then impossible."""
    proportional_attention: ClassVar[bool] = False
    """Whether later blocks add log(size) to attention logits, as ToMe proposes (eq. 1)."""

    def transform(self, ctx: ContextT) -> TokenTransform:
        """W with exactly ``ctx.num_keep`` rows over ``ctx.num_in`` columns."""
        raise NotImplementedError


class ScoringMethod(Method[ContextT], Generic[ContextT]):
    """A method that scores every token and keeps the best, in their original order."""

    def score(self, ctx: ContextT) -> Tensor:
        """Importance of every token, [B, N]; higher is kept. Ties keep the earlier token."""
        raise NotImplementedError

    def transform(self, ctx: ContextT) -> TokenTransform:
        """Prune to the ``ctx.num_keep`` best-scored tokens."""
        return TokenTransform.keep(top_indices(self.score(ctx), ctx.num_keep), ctx.num_in)


def top_indices(scores_BN: Tensor, num_keep: int) -> Tensor:
    """Indices of the ``num_keep`` highest scores per row, ascending, [B, num_keep].

    A stable sort decides ties for the earlier token, on every device alike.
    """
    order_BN = scores_BN.argsort(dim=-1, descending=True, stable=True)
    return order_BN[..., :num_keep].sort(dim=-1).values
