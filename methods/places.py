"""Where compression attaches to a model."""

from __future__ import annotations

from typing import Final, Literal, get_args

Place = Literal[
    "weights",  # the format of the model's matrices
    "vision",  # patch tokens inside a vision tower's blocks
    "vlm",  # visual tokens before or inside a language model
    "prompt",  # text tokens before the language model reads them
    "edit",  # entries of a cache whose prompt is edited
    "kv",  # entries of the key/value cache
    "storage",  # the format in which the cache's entries are held
    "attention",  # entries of the cache that a decoding step reads
    "decoding",  # forward passes for each new token
]
PLACES: Final[tuple[Place, ...]] = get_args(Place)
"""In the order in which an input passes them."""
