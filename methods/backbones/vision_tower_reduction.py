"""The reduction at work in a vision tower's forward pass, block by block.

Shapes: B images, N patches, M = 1 + N tokens with the class token first, H heads, D channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from methods.backbones.attention_tap import AttentionCall
from methods.backbones.base import Compression, Stage, layer_generator, memory_over_passes
from methods.backbones.effect import Effect
from methods.backbones.probing import probing
from methods.backbones.relevance import carried, relevance
from methods.backbones.vision_tower_block import Block
from methods.contexts import VisionContext
from methods.schedule import num_held
from methods.transform import TokenTransform

NUM_PROTECTED = 1
"""The class token comes first and is never reduced."""

Answer = Callable[[Tensor], Tensor]
"""What a model makes of the last block's output [B, M, D], one differentiable number per image."""


class TowerReduction:
    """One ``compressed`` block's reduction; its pass state is reset when the first layer is
    entered."""

    def __init__(
        self,
        blocks: Sequence[Block],
        grid: tuple[int, int],
        answer: Answer | None,
        stage: Stage,
        seed: int,
        compression: Compression,
    ) -> None:
        self.blocks = tuple(blocks)
        self.grid = grid
        self.answer = answer
        self.method = stage.method
        self.held = stage.schedule.held(stage.keep_ratio, len(self.blocks))
        self.seed = seed
        self.compression = compression
        self.transforms = compression.transforms["vision"]
        self.memory = memory_over_passes()
        self.number = -1
        self.num_patches = 0
        self.reads = 0
        self._effect = Effect(self.held)
        self.sizes_BN: Tensor | None = None
        self.call: AttentionCall | None = None
        self.future_BN: dict[int, Tensor] = {}

    def layer(
        self, index: int, hidden_BMD: Tensor, attention_mask: Tensor | None = None, **kwargs: Any
    ) -> Tensor:
        """The ``forward`` of layer ``index`` with the reduction before the MLP."""
        if index == 0:
            self._begin(hidden_BMD)
        self.compression.tokens_per_layer.append(hidden_BMD.shape[1])
        self.reads += hidden_BMD.shape[1] < NUM_PROTECTED + self.num_patches
        bias = self._size_bias()
        mask = attention_mask if bias is None else bias.to(hidden_BMD.dtype)
        hidden_BMD = self.blocks[index].attend(hidden_BMD, mask, **kwargs)
        num_keep = num_held(self.held[index], self.num_patches)
        if num_keep < hidden_BMD.shape[1] - NUM_PROTECTED:
            hidden_BMD = self._reduce(index, hidden_BMD, num_keep)
        self.call = None
        return self.blocks[index].feed_forward(hidden_BMD)

    def tap(self, _module: nn.Module, call: AttentionCall) -> AttentionCall:
        """Keep the block's queries, keys and values until its reduction is done."""
        self.call = call
        factor = self._factor(call.key_BKND.shape[2])
        return call if factor == 1.0 else replace(call, query_BHTD=call.query_BHTD * factor)

    def require_effect(self) -> None:
        """Raise if compression was asked for and a forward pass did without."""
        self._judge_pass()
        self._effect.require(
            f"forward passes kept all {self.num_patches} patches, or nothing read what was kept"
        )

    def noted(self, ctx: VisionContext, transform: TokenTransform) -> None:
        """Called for every reduction before it is applied; for subclasses that keep more of it."""

    def _begin(self, hidden_BMD: Tensor) -> None:
        self._judge_pass()
        self.number += 1
        self.num_patches = hidden_BMD.shape[1] - NUM_PROTECTED
        self.sizes_BN = None
        self.reads = 0
        self.compression.tokens_per_layer.clear()
        self.transforms.clear()
        if self.method.needs_future and min(self.held) < 1 and self.answer is not None:
            with self.compression.timed(hidden_BMD.device):
                self.future_BN = self._foreseen(hidden_BMD, self.answer)

    def _foreseen(self, hidden_BMD: Tensor, answer: Answer) -> dict[int, Tensor]:
        """Relevance of the patches where each block reduces, of a pass that reduces nothing."""
        places: list[Tensor] = []
        with probing([block.attention for block in self.blocks]), torch.enable_grad():
            state_BMD = hidden_BMD.clone().requires_grad_()
            for block in self.blocks:
                places.append(block.attend(state_BMD, None))
                state_BMD = block.feed_forward(places[-1])
            by_layer = relevance(answer(state_BMD).float(), places)
        return {index: whole_BM[:, NUM_PROTECTED:] for index, whole_BM in enumerate(by_layer)}

    def _judge_pass(self) -> None:
        """The one before, if there was one: where a pass ends, nobody says."""
        if self.number >= 0:
            self._effect.saw(bool(self.transforms and self.reads))

    def _factor(self, num_now: int) -> float:
        """The method's factor on attention logits; 1 until tokens were reduced."""
        num_in = NUM_PROTECTED + self.num_patches
        return 1.0 if num_now == num_in else float(self.method.attention_scale(num_in, num_now))

    def _size_bias(self) -> Tensor | None:
        """log(size) per token as an additive mask [B, 1, 1, M]; None while all sizes are 1."""
        if self.sizes_BN is None or not self.method.proportional_attention:
            return None
        bias_BM = nn.functional.pad(self.sizes_BN.log(), (NUM_PROTECTED, 0))
        return bias_BM[:, None, None]

    def _reduce(self, index: int, hidden_BMD: Tensor, num_keep: int) -> Tensor:
        with self.compression.timed(hidden_BMD.device):
            cls_B1D, patches_BND = hidden_BMD[:, :NUM_PROTECTED], hidden_BMD[:, NUM_PROTECTED:]
            context = self._context(index, hidden_BMD, num_keep)
            transform = self.method.transform(context)
            self.noted(context, transform)
            if transform.merges or self.sizes_BN is not None:
                self.sizes_BN = transform.sizes(context.sizes_BN)
            self.transforms[index] = transform
            self.future_BN = {
                later: carried(future_BN, transform)
                for later, future_BN in self.future_BN.items()
                if later > index
            }
            return torch.cat([cls_B1D, transform(patches_BND)], dim=1)

    def _context(self, index: int, hidden_BMD: Tensor, num_keep: int) -> VisionContext:
        assert self.call is not None
        query_BHMD, key_BHMD, value_BHMD = (
            self.call.query_BHTD,
            self.call.key_BKND,
            self.call.value_BKND,
        )
        sizes_BN = self.sizes_BN
        if sizes_BN is None:
            shape_BN = (hidden_BMD.shape[0], hidden_BMD.shape[1] - NUM_PROTECTED)
            sizes_BN = torch.ones(shape_BN, device=hidden_BMD.device)
        return VisionContext(
            sizes_BN=sizes_BN,
            num_keep=num_keep,
            layer=index,
            num_layers=len(self.held),
            generator=layer_generator(
                self.seed, "vision", self.number - self.compression.rehearsals, index
            ),
            hidden_BND=hidden_BMD[:, NUM_PROTECTED:],
            future_BN=self.future_BN.get(index),
            keys_BHND=key_BHMD[:, :, NUM_PROTECTED:],
            queries_BHND=query_BHMD[:, :, NUM_PROTECTED:],
            values_BHND=value_BHMD[:, :, NUM_PROTECTED:],
            scaling=self.blocks[index].scaling * self._factor(key_BHMD.shape[2]),
            cls_hidden_BD=hidden_BMD[:, 0],
            cls_query_BHD=query_BHMD[:, :, 0],
            cls_key_BHD=key_BHMD[:, :, 0],
            grid=None if self.transforms else self._grid(),
            memory=self.memory,
            **self._attention(index, hidden_BMD),
        )

    def _attention(self, index: int, hidden_BMD: Tensor) -> dict[str, Tensor | None]:
        """The attention that the method declares to need; one query row where that is enough."""
        assert self.call is not None
        found: dict[str, Tensor | None] = {"cls_attention_BHN": None}
        query_BHMD, key_BHMD = self.call.query_BHTD, self.call.key_BKND
        if self.method.needs_attention:
            found["attention_BHMM"] = self._softmax(index, query_BHMD, key_BHMD)
        if self.method.needs_cls:
            row_BH1M = self._softmax(index, query_BHMD[:, :, :NUM_PROTECTED], key_BHMD)
            found["cls_attention_BHN"] = row_BH1M[:, :, 0, NUM_PROTECTED:]
        if self.method.needs_next_attention and index + 1 < len(self.blocks):
            ahead = self.blocks[index + 1].queries_and_keys(hidden_BMD)
            found["next_attention_BHMM"] = self._softmax(index + 1, *ahead)
        return found

    def _softmax(self, index: int, query_BHTD: Tensor, key_BHMD: Tensor) -> Tensor:
        factor = self._factor(key_BHMD.shape[2])
        # In place: at M x M every copy takes as long as the product itself.
        logits_BHTM = (query_BHTD @ key_BHMD.mT).mul_(self.blocks[index].scaling * factor)
        bias = self._size_bias()
        return (logits_BHTM if bias is None else logits_BHTM.add_(bias)).softmax(-1)

    def _grid(self) -> tuple[int, int] | None:
        return self.grid if self.grid[0] * self.grid[1] == self.num_patches else None
