"""torchao, imported without its warnings about kernels of other machines."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

NOISY = ("torchao", "torch.utils._pytree")


@cache
def torchao() -> Any:
    """The package; its import alone logs what this machine's build lacks."""
    loggers = [logging.getLogger(name) for name in NOISY]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        import torchao.prototype.quantization.int4
        import torchao.quantization

        return torchao
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
