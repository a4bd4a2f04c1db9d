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

from methods.contexts import (
    CacheContext,
    TokenContext,
    TowerView,
    VisionContext,
    VisualContext,
    VisualLayout,
)
from methods.places import Place
from methods.prompt._base import PromptContext

CONTENTS = ("normal", "equal", "zero", "large")
"""Tokens that differ, tokens that are all the same, all zero, and of the size that residual streams
of large models reach."""
NUM_TEXT, NUM_TEXT_BEFORE = 5, 2
"""Text tokens of a vision-language prompt, and how many of them stand before the images."""


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
        future_BN=_future(shape, draw),
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
        future_BN=_future(shape, draw),
    )


def vlm_context(shape: Shape, layout: VisualLayout | None = None) -> VisualContext:
    """Visual tokens at the doorstep (layer 0) or behind a language layer.

    Without a ``layout``, every other seed has lost as many tokens inside as are left. Whether they
    are one image, several, frames or a thumbnail and crops then follows from the seed and the
    divisors of their number.
    """
    draw = torch.Generator().manual_seed(shape.seed)
    lost = shape.num_in if shape.layer > 0 and shape.seed % 2 else 0
    layout = layout or visual_layout(shape.num_in + lost, shape.seed)
    kept = torch.rand(shape.batch, layout.num_tokens, generator=draw).argsort(1)[:, : shape.num_in]
    tokens = (shape.batch, shape.num_in, shape.width)
    return VisualContext(
        **_base(shape, draw),
        hidden_BND=_tokens(shape, tokens, draw),
        origin_BN=kept.sort(1).values,
        layout=layout,
        text_BQD=_tokens(shape, (shape.batch, NUM_TEXT, shape.width), draw),
        question_Q=torch.arange(NUM_TEXT) >= NUM_TEXT_BEFORE,
        tower=tower_view(shape, layout, draw),
        **(_language_signals(shape, draw) if shape.layer > 0 else {}),
        future_BN=_future(shape, draw),
    )


@dataclass(frozen=True)
class FixedView:
    """What a model made of a prompt, known beforehand."""

    surprisal_BN: Tensor
    logits_BHN: Tensor

    def surprisal(self) -> Tensor:
        return self.surprisal_BN

    def last_query_logits(self, layer: int) -> Tensor:
        return self.logits_BHN


def prompt_context(shape: Shape) -> PromptContext:
    """A prompt of random words, of which a model has a random opinion."""
    draw = torch.Generator().manual_seed(shape.seed)
    size = (shape.batch, shape.num_in)
    return PromptContext(
        **_base(shape, draw),
        tokens_BN=torch.randint(100, size, generator=draw),
        view=FixedView(
            _tokens(shape, size, draw).float().abs(),
            _tokens(shape, (shape.batch, shape.heads, shape.num_in), draw),
        ),
    )


BUILDERS: dict[Place, Callable[[Shape], TokenContext]] = {
    "vision": vision_context,
    "vlm": vlm_context,
    "kv": cache_context,
    "prompt": prompt_context,
}
assert set(BUILDERS) == set(TokenContext.places), "a new place needs a builder here"


def visual_layout(num_tokens: int, seed: int) -> VisualLayout:
    """A layout of ``num_tokens``; different seeds give different ones where the number allows."""
    num_images = _divisor(num_tokens, seed)
    grid = _factors(num_tokens // num_images, seed)
    if num_images == 1:
        return VisualLayout(1, grid)
    if seed % 3 == 0:
        return VisualLayout(num_images, grid, "crops", _factors(num_images - 1, seed))
    return VisualLayout(num_images, grid, "several" if seed % 3 == 1 else "frames")


def tower_view(shape: Shape, layout: VisualLayout, draw: torch.Generator) -> TowerView:
    """A tower of three layers that attend from the class token and between patches."""
    images = (shape.batch, layout.num_images)
    per_layer = (3, *images, shape.heads, 1 + layout.per_image, shape.width)
    keys, queries = (_tokens(shape, per_layer, draw) for _ in range(2))
    scores_LBIHMM = queries.float() @ keys.float().transpose(-1, -2) * shape.width**-0.5
    attention_LBIHMM = scores_LBIHMM.softmax(-1)
    return TowerView(
        hidden_BIPD=_tokens(shape, (*images, layout.per_image, shape.width), draw),
        cls_attention_LBIHP=attention_LBIHMM[..., 0, 1:].to(shape.dtype),
        received_LBIP=attention_LBIHMM[..., 1:, 1:].mean(3).sum(-2).to(shape.dtype),
        keys_LBIHPD=keys[..., 1:, :],
        pixels_BICHW=torch.rand(*images, 3, *layout.grid, generator=draw),
        selected=1,
    )


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


def tensors(ctx: TokenContext | TowerView) -> dict[str, Tensor]:
    """The context's tensors by field name, those of a tower behind ``tower.``."""
    found: dict[str, Tensor] = {}
    for field in fields(ctx):
        value = getattr(ctx, field.name)
        if isinstance(value, Tensor):
            found[field.name] = value
        elif isinstance(value, TowerView):
            found |= {f"{field.name}.{name}": tensor for name, tensor in tensors(value).items()}
    return found


def single(ctx: TokenContext, index: int, seed: int) -> TokenContext:
    """The context of one sequence of the batch, with a fresh generator."""
    alone = _slices(ctx, index)
    if isinstance(ctx, VisualContext):
        alone["tower"] = replace(ctx.tower, **_slices(ctx.tower, index))
    if isinstance(ctx, PromptContext) and isinstance(ctx.view, FixedView):
        parts = (ctx.view.surprisal_BN, ctx.view.logits_BHN)
        alone["view"] = FixedView(*(part[index : index + 1] for part in parts))
    return replace(reseeded(ctx, seed), **alone)


def _slices(ctx: TokenContext | TowerView, index: int) -> dict[str, Any]:
    """One sequence of every tensor whose name has a B among its dimensions."""
    dims = {name: name.rpartition("_")[2].find("B") for name in tensors(ctx) if "." not in name}
    return {
        name: getattr(ctx, name).narrow(dim, index, 1) for name, dim in dims.items() if dim >= 0
    }


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


def _future(shape: Shape, draw: torch.Generator) -> Tensor:
    """What a rehearsal might tell about each token."""
    return _tokens(shape, (shape.batch, shape.num_in), draw).float().softmax(1)


def _language_signals(shape: Shape, draw: torch.Generator) -> dict[str, Any]:
    """Causal attention and keys of the previous language layer, visual tokens first."""
    visual_T = torch.arange(shape.num_in + NUM_TEXT) < shape.num_in
    text = torch.arange(NUM_TEXT)
    behind = text + shape.num_in * (text >= NUM_TEXT_BEFORE)
    position_T = torch.cat([torch.arange(shape.num_in) + NUM_TEXT_BEFORE, behind])
    size = (shape.batch, shape.heads, len(position_T), shape.width)
    keys_BHTD, queries_BHTD = (_tokens(shape, size, draw) for _ in range(2))
    scores_BHTT = queries_BHTD.float() @ keys_BHTD.float().transpose(2, 3) * shape.width**-0.5
    visible_TT = position_T[None] <= position_T[:, None]
    attention_BHTT = scores_BHTT.masked_fill(~visible_TT, -torch.inf).softmax(-1).to(shape.dtype)
    return {
        "attention_BHTN": attention_BHTT[..., visual_T],
        "visual_T": visual_T,
        "keys_BHND": keys_BHTD[:, :, visual_T],
    }


def _divisor(number: int, seed: int) -> int:
    divisors = [divisor for divisor in range(1, number + 1) if number % divisor == 0]
    return divisors[seed % len(divisors)]


def _factors(number: int, seed: int) -> tuple[int, int]:
    rows = _divisor(number, seed // 7)
    return rows, number // rows


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
