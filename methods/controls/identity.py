"""Identity: every token kept; the uncompressed baseline as a method like any other.

Control, no paper. Its trials are what every other trial is compared with.
"""

from __future__ import annotations

from methods.base import InfeasibleError, TokenMethod
from methods.contexts import TokenContext
from methods.transform import TokenTransform


class Identity(TokenMethod[TokenContext]):
    """Keeps every token, so it exists at keep_ratio 1.0 only."""

    def transform(self, ctx: TokenContext) -> TokenTransform:
        """W = I. Raises InfeasibleError if fewer tokens are asked for than there are."""
        if ctx.num_keep < ctx.num_in:
            raise InfeasibleError(
                f"identity keeps every token and runs at keep_ratio 1.0 only; it was asked to keep "
                f"{ctx.num_keep} of {ctx.num_in} tokens"
            )
        return TokenTransform.identity(ctx.batch, ctx.num_in, ctx.device)
