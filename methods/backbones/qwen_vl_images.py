"""The image side of a Qwen2-VL or Qwen2.5-VL: from pixels to the visual tokens.

Images have any size of whole tokens. A token is a square of merged patches, and the patches of one
token follow each other all the way. Qwen2.5-VL sorts tokens into windows first, within which most
layers attend; what the tower saw is sorted back.

Shapes: B examples of I images, J = B I images of Y x X tokens, P = Y X tokens of an image, W x W
patches of R x R pixels in a token, N = J P tokens, C colour channels, H heads, D channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from methods.backbones.attention_tap import AttentionCall
from methods.backbones.tower_tap import Calls, listening, per_layer, softmax
from methods.backbones.visual_sequence import VisualSequence, VisualTokens
from methods.base import InfeasibleError, TokenMethod
from methods.contexts import TowerView, VisualLayout
from methods.deferred import PerLayer


class PatchedImages:
    """Tower and merger of one model."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.config = model.config.vision_config

    @property
    def merged(self) -> int:
        """Patches along a side of a token."""
        return int(self.config.spatial_merge_size)

    @property
    def side(self) -> int:
        """Pixels along a side of a token."""
        return self.merged * int(self.config.patch_size)

    def check(self, pixels_BICHW: Tensor, layout: VisualLayout) -> None:
        """Raise ValueError where the images are not what the layout says."""
        num_images, _, height, width = pixels_BICHW.shape[1:]
        if num_images != layout.num_images:
            raise ValueError(
                f"the layout says {layout.num_images} images per example, the pixels hold "
                f"{num_images}"
            )
        if height % self.side or width % self.side:
            raise ValueError(
                f"images of {height} x {width} pixels are no whole number of tokens, which take "
                f"{self.side} x {self.side} each"
            )
        rows, columns = height // self.side, width // self.side
        if layout.grid != (rows, columns):
            raise ValueError(
                f"the layout says {layout.grid[0]} x {layout.grid[1]} tokens per image, images of "
                f"{height} x {width} pixels make {rows} x {columns}"
            )

    def read(
        self, pixels_BICHW: Tensor, sequence: VisualSequence, reader: TokenMethod[Any] | None
    ) -> VisualTokens:
        """Run tower and merger; note what the tower saw of what ``reader`` reads."""
        images_JCHW = pixels_BICHW.flatten(0, 1)
        rows, columns = (self.merged * tokens for tokens in sequence.layout.grid)
        grid_J3 = torch.tensor([[1, rows, columns]] * len(images_JCHW), device=images_JCHW.device)
        blocks = self.model.model.visual.blocks
        read = reader.tower_layers(len(blocks), len(blocks) - 1) if reader else ()
        with listening({layer: blocks[layer].attn for layer in read}) as calls:
            features = self.model.get_image_features(
                self.patches(images_JCHW), image_grid_thw=grid_J3, return_dict=True
            )
        projected_JPD = torch.stack(list(features.pooler_output))
        projected_BND = projected_JPD.view(len(pixels_BICHW), -1, projected_JPD.shape[-1])
        tower = None
        if reader:
            tower = self._view(
                calls, features.last_hidden_state, self._order(grid_J3), pixels_BICHW
            )
        return VisualTokens(sequence, projected_BND, tower)

    def patches(self, images_JCHW: Tensor) -> Tensor:
        """Patches, token after token, as the library's image processor lays them out.

        [J Y X W W, C 2 R R]: a still image is a film of two equal frames.
        """
        patch, merged = int(self.config.patch_size), self.merged
        height, width = images_JCHW.shape[2:]
        tokens = (height // self.side, merged, patch, width // self.side, merged, patch)
        split_JCYWRXWR = images_JCHW.reshape(*images_JCHW.shape[:2], *tokens)
        patches_JYXWWCRR = split_JCYWRXWR.permute(0, 2, 5, 3, 6, 1, 4, 7)
        film = patches_JYXWWCRR.unsqueeze(6)
        film = film.expand(*film.shape[:6], int(self.config.temporal_patch_size), *film.shape[7:])
        return film.flatten(5).flatten(0, 4)

    def _order(self, grid_J3: Tensor) -> Tensor:
        """Which token stands at each place in the tower, [N]."""
        if not hasattr(self.config, "window_size"):
            counts_J = grid_J3.prod(1) // self.merged**2
            return torch.arange(int(counts_J.sum()), device=grid_J3.device)
        from transformers.vision_utils import get_vision_window_index  # see Backbone.load

        order_N, _ = get_vision_window_index(
            grid_J3, self.merged, self.config.window_size, self.config.patch_size
        )
        window_order_N: Tensor = order_N.to(grid_J3.device)
        return window_order_N

    def _view(
        self,
        calls: Calls,
        hidden_MD: Tensor,
        order_N: Tensor,
        pixels_BICHW: Tensor,
    ) -> TowerView:
        """The view of one forward pass; a layer's calls are windows or images, in order."""
        images = tuple(pixels_BICHW.shape[:2])
        places_N = order_N.argsort()
        blocks = self.model.model.visual.blocks
        scaling = blocks[0].attn.scaling

        def by_token(x_MD: Tensor) -> Tensor:
            """[N W W, ...] in the tower's order to [B, I, P, W W, ...]."""
            tokens = x_MD.view(len(places_N), -1, *x_MD.shape[1:])[places_N]
            return tokens.view(*images, -1, *tokens.shape[1:])

        def by_layer(compute: Callable[[AttentionCall], Tensor]) -> PerLayer:
            def layer(_: int, own: Sequence[AttentionCall]) -> Tensor:
                return by_token(torch.cat([compute(call) for call in own])).mean(3)

            return per_layer(calls, len(blocks), layer)

        def received(call: AttentionCall) -> Tensor:
            return softmax(call, call.query_BHTD, scaling)[0].mean(0).sum(0)

        def keys(call: AttentionCall) -> Tensor:
            return call.key_BKND[0].transpose(0, 1)

        return TowerView(
            hidden_BIPD=by_token(hidden_MD).flatten(3),
            cls_attention_LBIHP=PerLayer([_no_class_token] * len(blocks)),
            received_LBIP=by_layer(received),
            keys_LBIHPD=PerLayer(
                partial(_heads_first, by_layer(keys), index) for index in range(len(blocks))
            ),
            pixels_BICHW=pixels_BICHW,
            selected=len(blocks) - 1,
            has_cls=False,
        )


def _heads_first(keys_LBIPHD: PerLayer, layer: int) -> Tensor:
    return keys_LBIPHD[layer].transpose(2, 3)


def _no_class_token() -> Tensor:
    raise InfeasibleError("the vision tower has no class token whose attention could be read")
