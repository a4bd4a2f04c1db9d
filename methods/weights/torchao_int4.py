"""int4: every linear layer's weight in 4 bits with a scale and zero point per group.

No paper of its own: round to nearest in groups along the input, as torchao (arXiv:2507.16099) does
it. On a GPU it is ``Int4WeightOnlyConfig`` in the layout of its tinygemm kernels, which exists for
bfloat16 only; on a CPU the same numbers in the layout of the CPU's kernels.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from methods.base import InfeasibleError, Paper
from methods.weights._base import WeightFormat

OUTPUTS = 16  # a layer's outputs come in multiples of it, or the kernels refuse the layer


class TorchaoInt4(WeightFormat):
    """4-bit weights, scale and zero point per group of inputs."""

    paper: ClassVar[Paper | None] = Paper(
        title="TorchAO: PyTorch-Native Training-to-Serving Model Optimization",
        arxiv="2507.16099",
        code="https://github.com/pytorch/ao",
    )
    bits: ClassVar[int] = 4

    group_size: Literal[32, 64, 128, 256] = Field(
        default=32, description="Inputs that share a scale and zero point."
    )

    def convert(self, model: nn.Module) -> None:
        """Quantise every ``nn.Linear`` that the kernels take; others stay as they are.

        Raises InfeasibleError if none does, or if a GPU's weights are not bfloat16.
        """
        if not any(self._fits(module, "") for module in model.modules()):
            raise InfeasibleError(
                f"torchao-int4: no layer's inputs divide into groups of {self.group_size} and its "
                f"outputs by {OUTPUTS}"
            )
        from torchao.quantization import quantize_

        quantize_(model, self._config(next(model.parameters())), self._fits)

    def _fits(self, module: nn.Module, _name: str) -> bool:
        return (
            isinstance(module, nn.Linear)
            and module.in_features % self.group_size == 0
            and module.out_features % OUTPUTS == 0
        )

    def _config(self, sample: torch.Tensor) -> Any:
        if sample.device.type == "cpu":
            from torchao.prototype.quantization.int4 import PrototypeInt4WeightOnlyConfig

            return PrototypeInt4WeightOnlyConfig(group_size=self.group_size)
        if sample.dtype is not torch.bfloat16:
            raise InfeasibleError(
                f"torchao-int4 on a GPU needs bfloat16 weights, this model has {sample.dtype}"
            )
        from torchao.quantization import Int4WeightOnlyConfig

        return Int4WeightOnlyConfig(
            group_size=self.group_size, int4_packing_format="tile_packed_to_4d"
        )
