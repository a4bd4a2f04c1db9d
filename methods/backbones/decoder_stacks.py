"""Which methods cannot work beside each other in one decoder, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from methods.attention._base import SparseAttention
from methods.backbones.base import Stage
from methods.kv._base import HeadwiseMethod
from methods.places import Place

EVEN_HEADS: Final[tuple[Place, ...]] = ("storage", "attention")
"""Where methods need caches in which all heads hold equally many entries."""


def why_not_together(stages: Sequence[Stage], num_layers: int) -> str | None:
    """Why a stage leaves a cache that another one cannot work with, in one sentence, or None."""
    cutting: dict[Place, Stage] = {stage.place: stage for stage in stages if stage.keep_ratio < 1}
    return _uneven_heads(cutting) or _uneven_layers(cutting, num_layers)


def _uneven_heads(cutting: Mapping[Place, Stage]) -> str | None:
    kept = cutting.get("kv")
    beside = next((cutting[place] for place in EVEN_HEADS if place in cutting), None)
    if kept is None or beside is None or not isinstance(kept.method, HeadwiseMethod):
        return None
    return (
        f"{kept.method.id()} leaves every head its own number of entries; {beside.method.id()} "
        "needs heads that hold equally many"
    )


def _uneven_layers(cutting: Mapping[Place, Stage], num_layers: int) -> str | None:
    """A layer can read what another one chose only if both hold the same tokens."""
    reading, kept, seen = (cutting.get(place) for place in ("attention", "kv", "vlm"))
    if reading is None:
        return None
    method: SparseAttention = reading.method
    if kept is not None and any(map(method.chooses_for_others, range(num_layers))):
        return (
            f"{method.id()} reads in a layer the entries that another layer chose; "
            f"{kept.method.id()} leaves every layer entries of its own"
        )
    return None if seen is None else _cut_between(method, seen, num_layers)


def _cut_between(method: SparseAttention, seen: Stage, num_layers: int) -> str | None:
    held = seen.schedule.held(seen.keep_ratio, num_layers)
    chosen_in: int | None = None
    for layer, fraction in enumerate(held):
        if method.chooses_for_others(layer):
            chosen_in = layer
        if chosen_in is not None and fraction != held[chosen_in]:
            return (
                f"{method.id()} reads in layer {layer} the entries that layer {chosen_in} chose; "
                f"{seen.method.id()} cuts tokens between the two"
            )
    return None
