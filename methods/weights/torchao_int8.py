"""int8: every linear layer's weight in 8 bits with one scale per output channel.

No paper of its own: round to nearest, symmetric, as torchao (arXiv:2507.16099) does it in
``Int8WeightOnlyConfig``. Activations stay as they are; weights are widened as they are used.
"""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from methods.base import Paper
from methods.weights._base import WeightFormat


class TorchaoInt8(WeightFormat):
    """8-bit weights, one scale per output channel."""

    paper: ClassVar[Paper | None] = Paper(
        title="TorchAO: PyTorch-Native Training-to-Serving Model Optimization",
        arxiv="2507.16099",
        code="https://github.com/pytorch/ao",
    )
    bits: ClassVar[int] = 8

    def convert(self, model: nn.Module) -> None:
        """Quantise every ``nn.Linear``; embeddings and norms stay."""
        from torchao.quantization import Int8WeightOnlyConfig, quantize_

        quantize_(model, Int8WeightOnlyConfig())
