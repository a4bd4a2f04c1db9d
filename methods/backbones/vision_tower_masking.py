"""Masking at work in a vision tower: patches are silenced in attention, none is removed.

Shapes: B images, N patches, M = 1 + N tokens with the class token first, D channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from methods.backbones import attention_tap
from methods.backbones.attention_tap import AttentionCall
from methods.backbones.base import Compression, Stage, layer_generator
from methods.backbones.effect import Effect
from methods.backbones.probing import probing
from methods.backbones.vision_tower_block import Block
from methods.backbones.vision_tower_reduction import NUM_PROTECTED
from methods.base import top_indices
from methods.schedule import num_held
from methods.vision._masking import TowerProbe


class TowerMasking:
    """One ``compressed`` block's masking.

    ``entrance`` are the modules that pixels pass before the first block. When they are called the
    method probes the tower, and the pass that follows is masked by what it found.
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        entrance: Sequence[nn.Module],
        stage: Stage,
        seed: int,
        compression: Compression,
    ) -> None:
        self.blocks = tuple(blocks)
        self.entrance = tuple(entrance)
        self.method = stage.method
        self.seed = seed
        self.compression = compression
        held = stage.schedule.held(stage.keep_ratio, len(blocks))
        self.asked = min(held) < 1
        self.shares = {index: held[index] for index in self.method.masked_layers(len(blocks))}
        self.number = -1
        self.masked = 0
        self._effect = Effect(held)
        self.uncertainty_BN: Tensor | None = None

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Mask every forward pass inside the block; where nothing is asked, touch nothing.

        Raises VacuousCompressionError on leaving if a pass silenced no patch in any layer.
        """
        if not self.asked:
            yield
            return
        with ExitStack() as stack:
            entered = self.entrance[0].register_forward_pre_hook(self._enter, with_kwargs=True)
            stack.callback(entered.remove)
            for index in self.shares:
                module = self.blocks[index].attention
                stack.enter_context(attention_tap.attach([module], partial(self._tap, index)))
            yield
        self._require_effect()

    def _enter(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._judge_pass()
        self.number += 1
        self.masked = 0
        pixels_BCHW = args[0] if args else kwargs["pixel_values"]
        modules = [block.attention for block in self.blocks]
        with self.compression.timed(pixels_BCHW.device), probing(modules):
            probe = TowerProbe(
                # A copy: what was made in inference mode cannot take part in a gradient.
                pixels_BCHW=pixels_BCHW.clone().float(),
                num_layers=len(self.blocks),
                states=partial(self._states, pixels_BCHW.dtype),
                generator=layer_generator(
                    self.seed, "vision", self.number - self.compression.rehearsals, 0
                ),
            )
            self.uncertainty_BN = self.method.uncertainty(probe)

    def _states(self, dtype: torch.dtype, pixels_BCHW: Tensor, num_layers: int) -> list[Tensor]:
        """Patches after each of the first layers, by ``forward`` so that no hook sees it."""
        state: Tensor = pixels_BCHW.to(dtype)
        for module in self.entrance:
            state = module.forward(state)
        found = []
        for block in self.blocks[:num_layers]:
            state = block.feed_forward(block.attend(state, None))
            found.append(state[:, NUM_PROTECTED:])
        return found

    def _tap(self, index: int, _module: nn.Module, call: AttentionCall) -> AttentionCall:
        assert self.uncertainty_BN is not None
        batch, num_patches = self.uncertainty_BN.shape
        num_masked = num_patches - num_held(self.shares[index], num_patches)
        if not num_masked:
            return call
        positions_BK = top_indices(self.uncertainty_BN, num_masked) + NUM_PROTECTED
        gate_BM = call.query_BHTD.new_ones(batch, NUM_PROTECTED + num_patches)
        self.masked += 1
        return replace(call, gate_BT=gate_BM.scatter(1, positions_BK, 0.0))

    def _judge_pass(self) -> None:
        """The one before, if there was one: where a pass ends, nobody says."""
        if self.number >= 0:
            self._effect.saw(bool(self.masked))

    def _require_effect(self) -> None:
        self._judge_pass()
        layers = ", ".join(map(str, self.shares))
        self._effect.require(
            f"forward passes attended to all patches in layers {layers}, where {self.method.id()} "
            "masks"
        )
