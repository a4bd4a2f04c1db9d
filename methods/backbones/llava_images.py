"""The image side of a LLaVA: from pixels to the visual tokens that reach the language model.

Shapes: B examples of I images, J = B I images, P patches of an image, K tokens of an image that
leave the tower, C colour channels, D channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from methods.backbones.base import Compression, Stage
from methods.backbones.clip import clip_tower
from methods.backbones.tower_tap import TowerTap, listening
from methods.backbones.vision_tower_reduction import NUM_PROTECTED, TowerReduction
from methods.backbones.visual_sequence import VisualSequence, VisualTokens, rows_for_all
from methods.base import InfeasibleError, TokenMethod
from methods.contexts import VisualLayout
from methods.transform import TokenTransform


class Images:
    """Tower and projector of one LLaVA; the tower may be compressed."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.tower = clip_tower(model.model.vision_tower)
        self._reduction: TowerReduction | None = None

    @contextmanager
    def attach(self, stage: Stage, seed: int, compression: Compression) -> Iterator[None]:
        """Reduce patches inside the tower; the language model gets as many tokens as are left.

        Raises InfeasibleError where the projector reads several layers: they differ in length.
        """
        if len(self._feature_layers) > 1:
            raise InfeasibleError("the projector reads several layers of the tower side by side")
        with self.tower.attach(stage, seed, compression, TowerReduction) as reduction:
            self._reduction = reduction
            try:
                yield
            finally:
                self._reduction = None

    def check(self, pixels_BICHW: Tensor, layout: VisualLayout) -> None:
        """Raise ValueError where the images are not what the layout says."""
        rows, columns = self.tower.grid
        if pixels_BICHW.shape[1] != layout.num_images:
            raise ValueError(
                f"the layout says {layout.num_images} images per example, the pixels hold "
                f"{pixels_BICHW.shape[1]}"
            )
        if layout.grid != self.tower.grid:
            raise ValueError(
                f"the layout says {layout.grid[0]} x {layout.grid[1]} tokens per image, the vision "
                f"tower makes {rows} x {columns}"
            )

    def read(
        self, pixels_BICHW: Tensor, sequence: VisualSequence, reader: TokenMethod[Any] | None
    ) -> VisualTokens:
        """Run tower and projector; note what the tower saw of what ``reader`` reads."""
        tap = self._tap()
        read = reader.tower_layers(tap.num_layers, tap.selected) if reader else ()
        with listening({layer: self.tower.blocks[layer].attention for layer in read}) as calls:
            features = self.model.get_image_features(pixels_BICHW.flatten(0, 1), return_dict=True)
        projected_JKD = torch.stack(list(features.pooler_output))
        projected_BND = projected_JKD.view(len(pixels_BICHW), -1, projected_JKD.shape[-1])
        cuts = {} if self._reduction is None else self._reduction.transforms
        tower = None
        if reader:
            tower = tap.view(calls, cuts, self._selected(features.hidden_states), pixels_BICHW)
        made = [cuts[layer] for layer in sorted(cuts) if layer <= tap.selected]
        if made:
            sequence, order_BK = sequence.reduced(_whole(made, sequence.layout.num_images))
            projected_BND = rows_for_all(projected_BND, order_BK)
        return VisualTokens(sequence, projected_BND, tower)

    def _tap(self) -> TowerTap:
        blocks = self.tower.blocks
        # Hidden state i is the output of layer i - 1, the first one what enters layer 0.
        selected = self._feature_layers[-1] % (len(blocks) + 1) - 1
        return TowerTap(len(blocks), blocks[0].scaling, selected)

    @property
    def _feature_layers(self) -> list[int]:
        layers = self.model.config.vision_feature_layer
        return [layers] if isinstance(layers, int) else list(layers)

    def _selected(self, hidden_states: tuple[Tensor, ...]) -> Tensor:
        """What the projector reads, [J, K, D]."""
        layers = [hidden_states[layer][:, NUM_PROTECTED:] for layer in self._feature_layers]
        return torch.cat(layers, dim=-1)


def _whole(cuts: Sequence[TokenTransform], num_images: int) -> Tensor:
    """One W per example, [B, I K, I P], for ``cuts`` that follow each other in every image."""
    combined_JKP = cuts[0].dense()
    for cut in cuts[1:]:
        combined_JKP = cut.dense() @ combined_JKP
    num_kept, num_patches = combined_JKP.shape[1:]
    by_image_BIKP = combined_JKP.view(-1, num_images, num_kept, num_patches)
    own_II = torch.eye(num_images, device=by_image_BIKP.device)
    whole_BIKIP = by_image_BIKP[:, :, :, None] * own_II[:, None, :, None]
    return whole_BIKIP.reshape(-1, num_images * num_kept, num_images * num_patches)
