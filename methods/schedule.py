"""How a keep ratio becomes a budget per layer.

A schedule answers one question for any model: which fraction of the original tokens does each
layer hold once it has been compressed? In a vision tower the fractions fall from layer to layer,
because a token that is gone stays gone; in a key/value cache each layer keeps its own entries.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Schedule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def held(self, keep_ratio: float, num_layers: int) -> tuple[float, ...]:
        """Fraction of the original tokens held by each layer, never increasing.

        ``keep_ratio`` in (0, 1] is what the last layers hold, or for :class:`Pyramid` the mean over
        all layers. Raises ValueError where the schedule does not fit ``num_layers``.
        """
        raise NotImplementedError

    @property
    def label(self) -> str:
        """Short name for tables; differs wherever the schedule differs."""
        raise NotImplementedError


class Uniform(_Schedule):
    """Every layer holds the keep ratio: one cut in the first layer, or equal cache budgets."""

    kind: Literal["uniform"] = "uniform"

    def held(self, keep_ratio: float, num_layers: int) -> tuple[float, ...]:
        """The same fraction everywhere."""
        return (keep_ratio,) * num_layers

    @property
    def label(self) -> str:
        """Always ``uniform``."""
        return "uniform"


class OneLayer(_Schedule):
    """Everything up to ``layer`` (0-based), the keep ratio from there on."""

    kind: Literal["one-layer"] = "one-layer"
    layer: int = Field(default=1, ge=0, description="0-based layer in which the cut happens.")

    def held(self, keep_ratio: float, num_layers: int) -> tuple[float, ...]:
        """1 before ``layer``, the keep ratio from it on."""
        _require_layer("layer", self.layer, num_layers)
        return (1.0,) * self.layer + (keep_ratio,) * (num_layers - self.layer)

    @property
    def label(self) -> str:
        """Names the layer."""
        return f"one-layer@{self.layer}"


class Progressive(_Schedule):
    """Equal factors from ``first`` to ``last``, so that the keep ratio is reached in ``last``.

    ``last`` counts from the end when negative; its default leaves the final layer uncut, because
    what a classifier reads is decided before it.
    """

    kind: Literal["progressive"] = "progressive"
    first: int = Field(default=0, ge=0, description="0-based layer of the first cut.")
    last: int = Field(
        default=-2, description="Layer of the last cut; negative counts from the end."
    )

    def held(self, keep_ratio: float, num_layers: int) -> tuple[float, ...]:
        """keep_ratio to the power of the share of cuts already made."""
        last = self.last + num_layers if self.last < 0 else self.last
        _require_layer("last", last, num_layers)
        if self.first > last:
            raise ValueError(
                f"progressive schedule starts in layer {self.first} but ends in layer {last} "
                f"of {num_layers}"
            )
        cuts = last - self.first + 1
        done = (min(max(layer - self.first + 1, 0), cuts) for layer in range(num_layers))
        return tuple(keep_ratio ** (share / cuts) for share in done)

    @property
    def label(self) -> str:
        """Names both ends unless they are the default."""
        default = Progressive()
        if self == default:
            return "progressive"
        return f"progressive@{self.first}..{self.last}"


class Pyramid(_Schedule):
    """Layers hold less and less, in equal steps, and on average the keep ratio.

    PyramidKV (arXiv:2406.02069), section 3.3: the last layer holds the keep ratio divided by
    ``beta``, the first as much more than the ratio as the last holds less. Where the first would
    hold more than everything, it holds everything and the last takes the rest, as the official code
    does (github.com/Zefan-Cai/KVCache-Factory). There each layer keeps an observation window
    besides; here the window is part of a method's budget.
    """

    kind: Literal["pyramid"] = "pyramid"
    beta: float = Field(
        default=20.0, ge=1, description="Keep ratio over what the last layer holds; 1 is uniform."
    )

    def held(self, keep_ratio: float, num_layers: int) -> tuple[float, ...]:
        """An arithmetic sequence whose mean is the keep ratio."""
        if num_layers == 1:
            return (keep_ratio,)
        first = min(2 * keep_ratio - keep_ratio / self.beta, 1.0)
        step = 2 * (first - keep_ratio) / (num_layers - 1)
        return tuple(first - layer * step for layer in range(num_layers))

    @property
    def label(self) -> str:
        """Names beta unless it is the default."""
        return "pyramid" if self == Pyramid() else f"pyramid@{self.beta:g}"


Schedule = Annotated[Uniform | OneLayer | Progressive | Pyramid, Field(discriminator="kind")]
KINDS: Final = (Uniform, OneLayer, Progressive, Pyramid)
"""Every kind of schedule that a sweep can ask for."""


def num_held(fraction: float, num_tokens: int) -> int:
    """Tokens that a fraction stands for: rounded half up, at least one."""
    return max(1, int(fraction * num_tokens + 0.5))


def _require_layer(name: str, layer: int, num_layers: int) -> None:
    if not 0 <= layer < num_layers:
        raise ValueError(f"{name} {layer} does not exist: the model has {num_layers} layers")
