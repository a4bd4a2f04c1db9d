"""Oracle: keep the entries that the rest of the dialogue will really attend to.

A control, from no paper: what any choice of entries could hope for. Every prompt is read twice. The
first time nothing is compressed, the continuation is fed and the answer generated, and the
attention that all of these tokens pay to the prompt is noted. The second time, the entries are
kept that got most of it, for each head. No right answer is looked at: the oracle knows what the
uncompressed model does, not what it ought to do.

Nothing that serves a model could know this, so that the method takes no place on a frontier over
what it saves; its own time includes the rehearsal.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from methods.base import InfeasibleError, ScoringMethod
from methods.contexts import CacheContext


class Oracle(ScoringMethod[CacheContext]):
    """Keep what will be attended to."""

    needs_future: ClassVar[bool] = True

    @property
    def simulated(self) -> frozenset[str]:
        """Everything that smaller caches save."""
        return frozenset({"tokens", "flops", "kv", "kv_bytes", "attended"})

    def score(self, ctx: CacheContext) -> Tensor:
        """Attention that each entry will receive. Raises InfeasibleError where nobody rehearsed."""
        if ctx.future_BN is None:
            raise InfeasibleError("the oracle's score works alone, not as a part of another method")
        return ctx.future_BN
