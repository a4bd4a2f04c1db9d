"""Pairing: one paper's score with another's way of merging what is not kept.

No paper: what LLMC+ (arXiv:2508.09981) asks for, scoring and merging as separate modules. The best
tokens by any method's score are kept; the others are not dropped but merged: each into the kept
token nearest to it (as ToMe, D2O and VisionZip merge), or all into one token beside the kept (as
EViT does). The paper's own merging, if it has one, is not used.
"""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar, Literal

import torch
from pydantic import Field, JsonValue, field_validator
from torch import Tensor
from torch.nn.functional import normalize

from methods import registry
from methods.base import Method, ScoringMethod, TokenMethod, top_indices
from methods.contexts import TokenContext
from methods.places import Place
from methods.transform import TokenTransform


class Pairing(TokenMethod[TokenContext]):
    """A score that keeps, and a merge for the rest."""

    version: ClassVar[int] = 2
    places: ClassVar[tuple[Place, ...]] = ()

    score: str = Field(description="Id of the method that scores tokens.", examples=["snapkv"])
    params: dict[str, JsonValue] = Field(default_factory=dict, description="Its hyperparameters.")
    merge: Literal["nearest", "fuse"] = Field(
        default="nearest",
        description="Into the nearest kept token by cosine, or all into one token beside them.",
    )

    @field_validator("score")
    @classmethod
    def _scores(cls, value: str) -> str:
        if not issubclass(registry.entry(value).method, ScoringMethod):
            raise ValueError(registry.unknown("scoring method", value, _scoring_methods()))
        return value

    @cached_property
    def scorer(self) -> ScoringMethod[TokenContext]:
        """The method that scores. Raises ValueError for wrong hyperparameters."""
        method = registry.build(self.score, self.params)
        assert isinstance(method, ScoringMethod)
        return method

    @property
    def components(self) -> tuple[Method, ...]:
        """The method that scores."""
        return (self.scorer,)

    @property
    def needs_cls(self) -> bool:  # type: ignore[override]
        """Whether the score needs the class token's attention."""
        return self.scorer.needs_cls

    @property
    def needs_attention(self) -> bool:  # type: ignore[override]
        """Whether the score needs the block's whole attention."""
        return self.scorer.needs_attention

    @property
    def needs_next_attention(self) -> bool:  # type: ignore[override]
        """Whether the score needs the next block's attention."""
        return self.scorer.needs_next_attention

    @property
    def needs_future(self) -> bool:  # type: ignore[override]
        """Whether the score needs a rehearsal."""
        return self.scorer.needs_future

    @property
    def simulated(self) -> frozenset[str]:
        """What the method that scores only simulates."""
        return self.scorer.simulated

    def attaches_to(self) -> tuple[Place, ...]:
        """Where the scoring method attaches and tokens can be mixed."""
        return tuple(place for place in self.scorer.attaches_to() if place != "prompt")

    def transform(self, ctx: TokenContext) -> TokenTransform:
        """W with the best-scored tokens, each with what was merged into it."""
        scores_BN = self.scorer.score(ctx)
        if self.merge == "fuse":
            return _fused(top_indices(scores_BN, ctx.num_keep - 1), ctx)
        return _nearest(top_indices(scores_BN, ctx.num_keep), ctx)


def _scoring_methods() -> list[str]:
    found = registry.entries().values()
    return [entry.id for entry in found if issubclass(entry.method, ScoringMethod)]


def _nearest(kept_BK: Tensor, ctx: TokenContext) -> TokenTransform:
    features_BND = normalize(ctx.compared.float(), dim=-1)
    kept_BKD = features_BND.gather(1, kept_BK[..., None].expand(-1, -1, features_BND.shape[-1]))
    rows_BN = (features_BND @ kept_BKD.mT).argmax(-1)
    own_BK = torch.arange(ctx.num_keep, device=ctx.device).expand_as(kept_BK)
    return TokenTransform.merge(rows_BN.scatter(1, kept_BK, own_BK), ctx.sizes_BN, ctx.num_keep)


def _fused(kept_BK: Tensor, ctx: TokenContext) -> TokenTransform:
    own_BK = torch.arange(kept_BK.shape[1], device=ctx.device).expand_as(kept_BK)
    rows_BN = torch.full_like(ctx.sizes_BN, kept_BK.shape[1], dtype=torch.long)
    return TokenTransform.merge(rows_BN.scatter(1, kept_BK, own_BK), ctx.sizes_BN, ctx.num_keep)
