"""Putting the tokens of a reduced vision tower back on their grid, for dense prediction.

Every W of the pass is undone in reverse order. An input token of a W receives the average of the
output tokens it went into, by weight; one that was pruned keeps the state in which it was pruned,
as sparse transformers for detection keep theirs in the feature map (SViT, arXiv:2306.07050). A
method whose paper has a reconstruction of its own gives its weights instead, by
:meth:`~methods.base.TokenMethod.unmerge_weights`.

Shapes: B images, N tokens before and K after one reduction, D channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from methods.backbones.vision_tower_reduction import NUM_PROTECTED, TowerReduction
from methods.contexts import VisionContext
from methods.transform import TokenTransform


class RestoringReduction(TowerReduction):
    """A reduction that every patch of the original grid reads the result of."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.cuts: list[Cut] = []

    @override
    def noted(self, ctx: VisionContext, transform: TokenTransform) -> None:
        """Keep what undoing this reduction needs."""
        self.cuts.append(Cut(ctx, transform, self.method.unmerge_weights(ctx, transform)))

    def restored(self, hidden_BMD: Tensor) -> Tensor:
        """Class token and all patches of the grid, from what is left of them at the end."""
        if not self.cuts:
            return hidden_BMD
        with self.compression.timed(hidden_BMD.device):
            patches_BND = hidden_BMD[:, NUM_PROTECTED:]
            for cut in reversed(self.cuts):
                patches_BND = cut.undone(patches_BND)
            self.cuts.clear()
            self.reads += hidden_BMD.shape[1] < NUM_PROTECTED + self.num_patches
            return torch.cat([hidden_BMD[:, :NUM_PROTECTED], patches_BND], dim=1)

    @override
    def _begin(self, hidden_BMD: Tensor) -> None:
        super()._begin(hidden_BMD)
        self.cuts.clear()


class Cut:
    """One reduction, and how to undo it. ``weights_BNK`` None means by W."""

    def __init__(
        self, ctx: VisionContext, transform: TokenTransform, weights_BNK: Tensor | None
    ) -> None:
        self.transform = transform
        self.weights_BNK = weights_BNK
        pruned_BN = transform.dense().sum(1) == 0
        self.pruned_BN1 = pruned_BN[..., None]
        self.before_BND = ctx.hidden_BND if bool(pruned_BN.any()) else None

    def undone(self, x_BKD: Tensor) -> Tensor:
        """[B, K, D] to [B, N, D]."""
        if self.weights_BNK is not None:
            return self.weights_BNK.to(x_BKD.dtype) @ x_BKD
        spread_BND = self.transform.unmerge(x_BKD)
        if self.before_BND is None:
            return spread_BND
        return torch.where(self.pruned_BN1, self.before_BND, spread_BND)
