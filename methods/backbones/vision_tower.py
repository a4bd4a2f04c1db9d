"""Vision towers of any family, compressed inside each block.

Tokens are reduced between attention and MLP, with that block's own keys and queries: the place that
ToMe (arXiv:2210.09461), EViT (arXiv:2202.07800) and PiToMe (arXiv:2405.16148) describe. Hooks
cannot reach it, because the residual is held inside the layer's ``forward``. So inside a
``compressed`` block each layer's ``forward`` is replaced by one that does the same operations in
the same order and reduces in between. A family says by a :class:`Block` which modules those are.

Shapes: B images, N patches, M = 1 + N tokens with the class token first, H heads, D channels.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, TypeVar

from torch import Tensor, nn
from typing_extensions import override

from methods.backbones import attention_tap
from methods.backbones.base import Backbone, Compression, Stage
from methods.backbones.vision_tower_block import Block
from methods.backbones.vision_tower_masking import TowerMasking
from methods.backbones.vision_tower_reduction import Answer, TowerReduction
from methods.backbones.weight_swap import converted
from methods.base import Method
from methods.controls.identity import Identity
from methods.places import Place
from methods.vision._masking import MaskingMethod

ReductionT = TypeVar("ReductionT", bound=TowerReduction)


class VisionTower:
    """The blocks of a tower, wherever in a model it stands.

    ``entrance`` are the modules that pixels pass, one after the other, before the first block;
    ``grid`` is (rows, columns) of the patches that it receives behind its class token. ``answer``
    is what the model makes of the last block's output, None where more is needed to know it.
    """

    def __init__(
        self,
        entrance: Sequence[nn.Module],
        blocks: Sequence[Block],
        grid: tuple[int, int],
        answer: Answer | None = None,
    ) -> None:
        self.entrance = tuple(entrance)
        self.blocks = tuple(blocks)
        self.grid = grid
        self.answer = answer

    @contextmanager
    def attach(
        self, stage: Stage, seed: int, compression: Compression, kind: type[ReductionT]
    ) -> Iterator[ReductionT]:
        """Reduce or mask patches in every forward pass inside the block; gives the state it holds.

        ``kind`` is :class:`TowerReduction` where the class token is all that is read, or
        :class:`~methods.backbones.vision_tower_restore.RestoringReduction` where every patch is.
        Raises VacuousCompressionError on leaving if the stage asked for fewer tokens and a forward
        pass went by without, or nothing read what was kept.
        """
        with ExitStack() as stack:
            if isinstance(stage.method, MaskingMethod):
                masking = TowerMasking(self.blocks, self.entrance, stage, seed, compression)
                stack.enter_context(masking.attached())
                # Masking removes nothing, so that what is left to do is to keep the record.
                stage = replace(stage, method=Identity(), keep_ratio=1.0)
            reduction = kind(self.blocks, self.grid, self.answer, stage, seed, compression)
            modules = [block.attention for block in self.blocks]
            stack.enter_context(attention_tap.attach(modules, reduction.tap))
            for index, block in enumerate(self.blocks):
                stack.callback(_restore_forward, block.layer)
                block.layer.forward = partial(reduction.layer, index)
            yield reduction
        reduction.require_effect()


class VisionBackbone(Backbone):
    """A model whose vision tower is compressed; subclasses say where the tower is."""

    places: ClassVar[tuple[Place, ...]] = ("vision", "weights")
    recorded: ClassVar[tuple[Place, ...]] = ("vision",)

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.tower = self.tower_of(self.model)

    @classmethod
    @abstractmethod
    def tower_of(cls, model: Any) -> VisionTower:
        """The tower inside the model."""

    @override
    @classmethod
    def why_not(cls, config: dict[str, Any], method: Method) -> str | None:
        """Every vision method fits: the towers have a class token, keys and queries."""
        return None

    @property
    def num_layers(self) -> int:
        """Number of transformer blocks in the tower."""
        return len(self.tower.blocks)

    def attach(
        self, stage: Stage, seed: int, compression: Compression
    ) -> AbstractContextManager[None]:
        """Reduce patches in every forward pass, or swap weights.

        See :meth:`methods.backbones.base.Backbone.attach`.
        """
        if stage.place == "weights":
            return converted(self.model, stage.method, compression)
        return self._attach_tower(stage, seed, compression)

    @contextmanager
    def _attach_tower(self, stage: Stage, seed: int, compression: Compression) -> Iterator[None]:
        with self.tower.attach(stage, seed, compression, TowerReduction):
            yield

    def _inputs(self, pixels_BCHW: Tensor) -> Tensor:
        return pixels_BCHW.to(self.device, self.model.dtype)


def grid_of(vision_config: Any) -> tuple[int, int]:
    """(rows, columns) of the patches, from a vision configuration's image and patch size."""
    (height, width), (rows, columns) = map(
        _pair, (vision_config.image_size, vision_config.patch_size)
    )
    return height // rows, width // columns


def require_finite(values: Tensor, what: str) -> Tensor:
    """``values`` as they are. Raises FloatingPointError that says ``what`` is not finite."""
    if not values.isfinite().all():
        raise FloatingPointError(f"the model's {what} are not finite")
    return values


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _restore_forward(layer: nn.Module) -> None:
    vars(layer).pop("forward", None)
