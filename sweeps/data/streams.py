"""Fixed streams of examples: drawn in blocks, each from a generator of its own.

The first 128 examples of a stream are therefore the front of its first 256.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal, TypeVar

import numpy as np

Split = Literal["train", "validation", "test"]
ExamplesT = TypeVar("ExamplesT")

BLOCK: Final = 64  # examples drawn from one generator


def generators(seed: tuple[int, ...], count: int) -> Iterator[np.random.Generator]:
    """One for each block that `count` examples take."""
    return (np.random.default_rng((*seed, block)) for block in range(-(-count // BLOCK)))


def leading(blocks: Sequence[ExamplesT], count: int) -> ExamplesT:
    """The first `count` examples of blocks: dataclasses of arrays with examples in front."""
    first: Any = blocks[0]
    names = [field.name for field in dataclasses.fields(first)]
    whole = {name: np.concatenate([getattr(block, name) for block in blocks]) for name in names}
    chosen: ExamplesT = dataclasses.replace(
        first, **{name: array[:count] for name, array in whole.items()}
    )
    return chosen
