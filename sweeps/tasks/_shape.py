"""What tasks share that measure costs alone: inputs of a shape, drawn without any meaning.

Costs depend on shapes, so nothing has to be right: tokens are drawn uniformly and pixels normally,
always the same ones. What the model's ``config.json`` says is followed: image size, vocabulary.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, ClassVar, Generic, Literal

import torch
from pydantic import Field
from torch import Tensor

from methods.backbones.vision_tower import grid_of
from sweeps.tasks.base import BackboneT, BatchT, Task

NUM_RESERVED = 16
"""Ids at the front of a vocabulary that may be marks; none of them is drawn."""


class ShapeTask(Task[BackboneT, BatchT], Generic[BackboneT, BatchT]):
    """Inputs of one shape; there is nothing to be right or wrong about."""

    metric: ClassVar[str] = "none, costs only"
    has_answers: ClassVar[bool] = False

    num_examples: Literal[0] = Field(default=0, description="None is judged.")
    batch_size: int = Field(default=1, ge=1, description="Examples that costs are measured on.")

    def drawn(self, config: Any) -> BatchT:
        """The batch for a model with this configuration."""
        raise NotImplementedError

    def answer(self, backbone: BackboneT, batch: BatchT) -> Tensor:
        """Whatever the model makes of the batch, one row per example."""
        raise NotImplementedError

    def cost_batch(self, backbone: BackboneT, num_examples: int) -> BatchT:  # noqa: ARG002
        """All ``batch_size`` examples: the batch is part of the shape."""
        return self.drawn(backbone.model.config)

    def batches(self) -> list[BatchT]:
        """There are no examples."""
        return []

    def outcomes(self, backbone: BackboneT, batch: BatchT) -> Tensor:
        """The model runs; what comes out counts for nothing: zeros, float32 [B]."""
        return torch.zeros(len(self.answer(backbone, batch)))

    def predict(self, backbone: BackboneT, batch: BatchT) -> list[dict[str, Any]]:
        """Nothing: there are no answers."""
        self.answer(backbone, batch)
        return [{} for _ in range(len(batch))]

    def batch_of(self, inputs: dict[str, Any]) -> BatchT:  # noqa: ARG002
        """Raises ValueError: there is nothing to ask."""
        raise ValueError(f"{self.id} measures costs alone and answers no requests")


def pixels(shape: tuple[int, ...]) -> Tensor:
    """Normal numbers, float32, the same for the same shape."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def image_shape(vision_config: Any) -> tuple[int, int, int]:
    """Channels, height and width of the images that a tower takes."""
    size = fixed_size(vision_config)
    assert size is not None, "a tower that takes images of any size"
    return (vision_config.num_channels, *size)


def fixed_size(vision_config: Any) -> tuple[int, int] | None:
    """Height and width of the only images that a tower takes; None where it takes any."""
    size = getattr(vision_config, "image_size", None)
    if size is None:
        return None
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


def num_patches(vision_config: dict[str, Any]) -> int:
    """Patches of one image for a tower with this configuration."""
    rows, columns = grid_of(SimpleNamespace(**vision_config))
    return rows * columns


def tokens(shape: tuple[int, ...], end: int) -> Tensor:
    """Token ids below ``end``, uniform, int64, the same for the same shape and end."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(min(NUM_RESERVED, end - 1), end, shape, generator=generator)
