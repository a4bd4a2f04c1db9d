"""Random contexts for tests of methods, one builder per place.

A builder takes a :class:`Shape`, so that a test written over places covers every method, whichever
context it reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from methods.contexts import CacheContext, TokenContext, VisionContext
from methods.places import PLACES, Place

CONTENTS = ("normal", "equal", "zero", "large")
"""Tokens that differ, tokens that are all the same, all zero, and of the size that residual streams
of large models reach."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Everything that determines a context, bit for bit."""

    num_in: int
    num_keep: int
    batch: int = 2
    heads: int = 2
    width: int = 8
    layer: int = 1
    num_layers: int = 4
    seed: int = 0
    content: str = "normal"
    dtype: torch.dtype = torch.float32


def vision_context(shape: Shape) -> VisionContext:
    """Patch tokens of a small vision transformer."""
    draw = torch.Generator().manual_seed(shape.seed)
    per_head = (shape.batch, shape.heads, shape.num_in, shape.width)
    return VisionContext(
        **_base(shape, draw),
        hidden_BND=_tokens(shape, (shape.batch, shape.num_in, shape.width), draw),
        keys_BHND=_tokens(shape, per_head, draw),
        queries_BHND=_tokens(shape, per_head, draw),
        cls_attention_BHN=_class_attention(shape, draw),
        values_BHND=_tokens(shape, per_head, draw),
        cls_hidden_BD=_tokens(shape, (shape.batch, shape.width), draw),
        cls_query_BHD=_tokens(shape, (shape.batch, shape.heads, shape.width), draw),
        cls_key_BHD=_tokens(shape, (shape.batch, shape.heads, shape.width), draw),
        scaling=shape.width**-0.5,
        attention_BHMM=_attention(shape, draw),
        next_attention_BHMM=None if _is_last(shape) else _attention(shape, draw),
        grid=_grid(shape.num_in) if shape.seed % 2 else None,
    )


def cache_context(shape: Shape) -> CacheContext:
    """Keys and values of a prompt; every other seed has read one token more than it holds."""
    draw = torch.Generator().manual_seed(shape.seed)
    entries = (shape.batch, shape.num_in, shape.width)
    num_read = shape.num_in + shape.seed % 2
    return CacheContext(
        **_base(shape, draw),
        keys_BND=_tokens(shape, entries, draw),
        values_BND=_tokens(shape, entries, draw),
        queries_BGTD=_tokens(shape, (shape.batch, shape.heads, num_read, shape.width), draw),
        scaling=shape.width**-0.5,
    )


BUILDERS: dict[Place, Callable[[Shape], TokenContext]] = {
    "vision": vision_context,
    "kv": cache_context,
}
assert set(BUILDERS) <= set(PLACES)


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """Any budget below any number of tokens, odd and even, with ordinary and degenerate tokens."""
    num_in = draw(st.integers(2, 40))
    num_layers = draw(st.integers(1, 6))
    return Shape(
        num_in=num_in,
        num_keep=draw(st.integers(1, num_in - 1)),
        batch=draw(st.integers(1, 3)),
        heads=draw(st.integers(1, 3)),
        layer=draw(st.integers(0, num_layers - 1)),
        num_layers=num_layers,
        seed=draw(st.integers(0, 2**16)),
        content=draw(st.sampled_from(CONTENTS)),
        dtype=draw(st.sampled_from([torch.float32, torch.bfloat16])),
    )


def tensors(ctx: TokenContext) -> dict[str, Tensor]:
    """The context's tensors by field name."""
    values = {field.name: getattr(ctx, field.name) for field in fields(ctx)}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def single(ctx: TokenContext, index: int, seed: int) -> TokenContext:
    """The context of one sequence of the batch, with a fresh generator."""
    alone: dict[str, Any] = {name: x[index : index + 1] for name, x in tensors(ctx).items()}
    return replace(reseeded(ctx, seed), **alone)


def reseeded(ctx: TokenContext, seed: int) -> TokenContext:
    """The same context with a fresh generator and, where it has a memory, an empty one."""
    memory: dict[str, Any] = {"memory": {}} if hasattr(ctx, "memory") else {}
    return replace(ctx, **memory, generator=torch.Generator().manual_seed(seed))


def _base(shape: Shape, draw: torch.Generator) -> dict[str, Any]:
    sizes = torch.randint(1, 5, (shape.batch, shape.num_in), generator=draw)
    return {
        "sizes_BN": sizes.float(),
        "num_keep": shape.num_keep,
        "layer": shape.layer,
        "num_layers": shape.num_layers,
        "generator": torch.Generator().manual_seed(shape.seed),
    }


def _tokens(shape: Shape, size: tuple[int, ...], draw: torch.Generator) -> Tensor:
    tokens = torch.randn(size, generator=draw)
    if shape.content == "equal":
        tokens = tokens[..., :1, :].expand(size).clone()
    factor = {"normal": 1.0, "equal": 1.0, "zero": 0.0, "large": 1000.0}[shape.content]
    return (tokens * factor).to(shape.dtype)


def _class_attention(shape: Shape, draw: torch.Generator) -> Tensor:
    size = (shape.batch, shape.heads, shape.num_in + 1, shape.width)
    logits_BHN = _tokens(shape, size, draw).float().sum(-1)
    return logits_BHN.softmax(-1)[..., 1:].to(shape.dtype)


def _attention(shape: Shape, draw: torch.Generator) -> Tensor:
    """Of all tokens on all tokens, the class token first; rows sum to 1."""
    num_tokens = 1 + shape.num_in
    logits_BHMM = _tokens(shape, (shape.batch, shape.heads, num_tokens, num_tokens), draw)
    return logits_BHMM.float().softmax(-1).to(shape.dtype)


def _is_last(shape: Shape) -> bool:
    return shape.layer == shape.num_layers - 1


def _grid(num_in: int) -> tuple[int, int]:
    """The grid of so many patches that is nearest to a square, with fewer rows than columns."""
    rows = next(rows for rows in range(math.isqrt(num_in), 0, -1) if num_in % rows == 0)
    return rows, num_in // rows
