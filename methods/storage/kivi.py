"""KIVI: keys quantised per channel, values per token, two bits each.

"KIVI: A Tuning-Free Asymmetric 2bit Quantization for KV Cache" (arXiv:2402.02750), section 3 and
algorithm 1. Official code: github.com/jy-yuan/KIVI. Keys have a few channels that are always large,
so that numbers of one channel share a scale (groups run along the tokens); values have none, and a
token's error should stay with the token (groups run along the channels). The newest ``residual``
entries stay in full precision: recent tokens matter most.

Where we differ: both keys and values leave the residual in whole groups of ``group_size`` tokens;
the paper moves keys in blocks of the residual's length and values one at a time. Groups of values
are no longer than a head's channels.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from methods.base import Paper
from methods.storage._base import CacheFormat, Packed


class KIVI(CacheFormat):
    """Few-bit keys per channel and values per token."""

    paper: ClassVar[Paper | None] = Paper(
        title="KIVI: A Tuning-Free Asymmetric 2bit Quantization for KV Cache",
        arxiv="2402.02750",
        code="https://github.com/jy-yuan/KIVI",
    )

    def pack_keys(self, keys_BKSD: Tensor) -> Packed:
        """Groups of ``group_size`` tokens of one channel."""
        return Packed.of(keys_BKSD, self.bits, self.group_size, axis=2)

    def pack_values(self, values_BKSD: Tensor) -> Packed:
        """Groups of at most ``group_size`` channels of one token."""
        width = values_BKSD.shape[-1]
        size = next(n for n in range(min(self.group_size, width), 0, -1) if width % n == 0)
        return Packed.of(values_BKSD, self.bits, size, axis=3)
