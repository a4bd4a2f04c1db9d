"""What holds the cache's entries in fewer bits.

Shapes: B sequences, K key/value heads, S entries, D channels, P packed bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from methods.base import Method
from methods.places import Place

NOMINAL_BITS = 16  # of a cache entry's numbers in published measurements


class CacheFormat(Method):
    """Entries quantised in groups of tokens; the newest stay as they are.

    A prompt is read at full precision and quantised when it has been read. New entries wait in full
    precision until a group of them is complete.
    """

    places: ClassVar[tuple[Place, ...]] = ("storage",)

    bits: Literal[2, 4, 8] = Field(default=2, description="Of one number, scales not counted.")
    group_size: int = Field(
        default=32, ge=1, le=256, description="Numbers that share a scale and zero point."
    )
    residual: int = Field(
        default=32, ge=0, le=4096, description="Newest entries that are never quantised."
    )

    @property
    def fixed_ratio(self) -> float:
        """Bits over those of a 16-bit cache; what is really held is measured."""
        return self.bits / NOMINAL_BITS

    def pack_keys(self, keys_BKSD: Tensor) -> Packed:
        """Quantise whole groups of entries' keys; S is a multiple of ``group_size``."""
        raise NotImplementedError

    def pack_values(self, values_BKSD: Tensor) -> Packed:
        """Quantise whole groups of entries' values."""
        raise NotImplementedError


@dataclass(frozen=True)
class Packed:
    """Numbers in few bits, with what turns them back: x = code * scale + low.

    ``codes`` are uint8 [..., G, n], groups of ``size`` numbers with 8 / bits codes in a byte;
    ``scale`` and ``low`` [..., G, 1] are in the dtype of the model. ``axis`` says along which axis
    of [B, K, S, D] the groups run.
    """

    codes: Tensor
    scale: Tensor
    low: Tensor
    bits: int
    size: int
    axis: int

    @classmethod
    def of(cls, x_BKSD: Tensor, bits: int, size: int, axis: int) -> Packed:
        """Round to the nearest of 2**bits levels between each group's smallest and largest."""
        moved = x_BKSD.movedim(axis, -1)
        grouped = moved.reshape(*moved.shape[:-1], -1, size)
        low, high = grouped.amin(-1, keepdim=True), grouped.amax(-1, keepdim=True)
        levels = 2**bits - 1
        scale = ((high - low) / levels).clamp_min(torch.finfo(x_BKSD.dtype).tiny)
        codes = ((grouped - low) / scale).round().clamp(0, levels).to(torch.uint8)
        return cls(_bytes(codes, bits), scale, low, bits, size, axis)

    def unpack(self) -> Tensor:
        """The numbers again, [B, K, S, D]."""
        shifts = torch.arange(0, 8, self.bits, device=self.codes.device, dtype=torch.uint8)
        codes = (self.codes[..., None] >> shifts) & (2**self.bits - 1)
        codes = codes.flatten(-2)[..., : self.size]
        numbers: Tensor = codes.to(self.scale.dtype) * self.scale + self.low
        return numbers.flatten(-2).movedim(-1, self.axis)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Everything that is held."""
        return self.codes, self.scale, self.low


def _bytes(codes: Tensor, bits: int) -> Tensor:
    """8 / bits codes in each byte, the last one filled up with zeros."""
    per_byte = 8 // bits
    missing = -codes.shape[-1] % per_byte
    padded = torch.nn.functional.pad(codes, (0, missing))
    whole = padded.view(*codes.shape[:-1], -1, per_byte)
    shifts = torch.arange(0, 8, bits, device=codes.device, dtype=torch.uint8)
    return (whole << shifts).sum(-1, dtype=torch.uint8)
