"""PyramidKV: SnapKV's choice of entries, with a budget that shrinks from layer to layer.

"PyramidKV: Dynamic KV Cache Compression based on Pyramidal Information Funneling"
(arXiv:2406.02069), section 3. Official code: github.com/Zefan-Cai/KVCache-Factory
(``pyramidkv/pyramidkv_utils.py``). Large decoders look at everything in their first layers and at a
few tokens in their last, so the last layers can do with little. Entries are chosen as SnapKV
chooses them; the paper's own is the allocation, here the schedule
:class:`~methods.schedule.Pyramid`, this method's home: with another schedule it is SnapKV.

Where we differ:

- The observation window is part of a layer's budget and shrinks with it, as in SnapKV here; the
  official code gives every layer the whole window on top of its share of the pyramid.
- Budgets are cut from fractions of the prompt, rounded once per layer; the official code steps by
  whole entries and loses up to one per layer.
"""

from __future__ import annotations

from typing import ClassVar

from methods.base import Paper
from methods.kv.snapkv import SnapKV
from methods.schedule import Pyramid, Schedule


class PyramidKV(SnapKV):
    """SnapKV at home in a pyramid of budgets."""

    paper: ClassVar[Paper | None] = Paper(
        title="PyramidKV: Dynamic KV Cache Compression based on Pyramidal Information Funneling",
        arxiv="2406.02069",
        code="https://github.com/Zefan-Cai/KVCache-Factory",
    )
    home: ClassVar[Schedule] = Pyramid()
