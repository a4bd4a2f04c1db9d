"""A model's parameters in another format for the length of a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from methods.backbones.base import Compression, VacuousCompressionError, weight_bytes
from methods.weights._base import WeightFormat


@contextmanager
def converted(model: nn.Module, method: WeightFormat, compression: Compression) -> Iterator[None]:
    """Hold the weights in the method's format; the very parameters come back afterwards.

    Raises VacuousCompressionError if the format takes as many bytes as what it replaces.
    """
    saved = [(module, dict(module._parameters)) for module in model.modules()]
    before = weight_bytes(model)
    try:
        with torch.no_grad():
            method.convert(model)
        compression.weight_bytes = weight_bytes(model)
        if compression.weight_bytes >= before:
            raise VacuousCompressionError(
                f"{method.id()} leaves {compression.weight_bytes:,} bytes of {before:,}"
            )
        yield
    finally:
        for module, parameters in saved:
            _restore(module, parameters)


def _restore(module: nn.Module, parameters: dict[str, nn.Parameter | None]) -> None:
    module._parameters.clear()
    module._parameters.update(parameters)
