"""How a keep ratio becomes a budget per layer.

A schedule answers one question for any model: which fraction of the original tokens does each
layer hold once it has been compressed? In a vision tower the fractions fall from layer to layer,
because a token that is gone stays gone; in a key/value cache each layer keeps its own entries.
"""

from __future__ import annotations

from itertools import accumulate
from math import ceil, exp
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from methods.infeasible import InfeasibleError


class _Schedule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def held(self, keep_ratio: float, num_layers: int) -> tuple[float, ...]:
        """Fraction of the original tokens held by each layer, never increasing.

        ``keep_ratio`` in (0, 1] is what the last layers hold, for :class:`Pyramid` the mean over
        all layers and for :class:`Sigmoid` the mean over those that it cuts. Raises ValueError
        where the schedule does not fit ``num_layers``.
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
        """``uniform``: nothing varies."""
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
        """``one-layer@LAYER``, 0-based."""
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
            raise InfeasibleError(
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


class Stages(_Schedule):
    """A few cuts at given depths; between them nothing changes.

    PyramidDrop (arXiv:2410.17247), section 3.2, divides a language model into stages and multiplies
    the tokens by the same factor at the end of each. ``shares`` say how much of the whole cut a
    stage makes: after shares that add up to s the layers hold the keep ratio to the power of s.

    Depths are fractions of the layers, so that a schedule means the same for any model: 0 is before
    the first layer and d before layer d * num_layers, rounded up and at most the last one. Cuts
    that fall on the same layer of a shallow model become one.
    """

    kind: Literal["stages"] = "stages"
    depths: tuple[Annotated[float, Field(ge=0, lt=1)], ...] = Field(
        default=(0.25, 0.5, 0.75), min_length=1, description="Where the cuts are, increasing."
    )
    shares: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=(), description="Relative part of the cut at each depth; none: equal parts."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if list(self.depths) != sorted(set(self.depths)):
            raise ValueError(f"depths must increase, not be {list(self.depths)}")
        if self.shares and len(self.shares) != len(self.depths):
            raise ValueError(f"{len(self.shares)} shares do not fit {len(self.depths)} depths")
        return self

    def held(self, keep_ratio: float, num_layers: int) -> tuple[float, ...]:
        """keep_ratio to the power of the shares of the stages that have ended."""
        layers = [_layer_at(depth, num_layers) for depth in self.depths]
        sums = list(accumulate(self.shares or (1.0,) * len(layers)))
        ended = (sum(layer >= cut for cut in layers) for layer in range(num_layers))
        return tuple(keep_ratio ** ([0.0, *sums][count] / sums[-1]) for count in ended)

    @property
    def label(self) -> str:
        """Names depths and shares unless they are the default."""
        if self == Stages():
            return "stages"
        depths, shares = (
            "+".join(f"{number:g}" for number in numbers) for numbers in (self.depths, self.shares)
        )
        return f"stages@{depths}" + (f":{shares}" if shares else "")


class Sigmoid(_Schedule):
    """Layers hold what a falling sigmoid says, on average the keep ratio.

    P-Sigmoid of "Accelerating Multimodal Large Language Models by Searching Optimal Vision Token
    Reduction" (arXiv:2412.00556): under a given budget the keep rates of the layers follow a
    parametric sigmoid, whose parameters Bayesian optimisation finds. The paper's exact
    parametrisation was not at hand; this is our reading. ``steepness`` is the parameter to search;
    the curve's midpoint follows from the budget. Layers before ``first`` hold everything, because
    attention in the first layer ranks visual tokens differently from all later ones, and are not
    part of the average.
    """

    kind: Literal["sigmoid"] = "sigmoid"
    steepness: float = Field(
        default=8.0,
        ge=0,
        le=100,
        description="Slope over the depth between first cut and last layer; 0 is one cut.",
    )
    first: int = Field(default=2, ge=0, description="0-based layer of the first cut.")

    def held(self, keep_ratio: float, num_layers: int) -> tuple[float, ...]:
        """1 before ``first``, then 1 / (1 + exp(steepness * depth - offset))."""
        _require_layer("first", self.first, num_layers)
        if keep_ratio == 1:
            return (1.0,) * num_layers
        cut = num_layers - self.first
        slopes = [self.steepness * layer / max(cut - 1, 1) for layer in range(cut)]
        offset = self._offset(keep_ratio, slopes)
        return (1.0,) * self.first + tuple(_logistic(offset - slope) for slope in slopes)

    @staticmethod
    def _offset(keep_ratio: float, slopes: list[float]) -> float:
        """Where the curve's mean is the keep ratio, by bisection: the mean grows with it."""
        low, high = -50.0, slopes[-1] + 50.0
        for _ in range(100):
            middle = (low + high) / 2
            mean = sum(_logistic(middle - slope) for slope in slopes) / len(slopes)
            low, high = (middle, high) if mean < keep_ratio else (low, middle)
        return (low + high) / 2

    @property
    def label(self) -> str:
        """Names both parameters unless they are the default."""
        if self == Sigmoid():
            return "sigmoid"
        return f"sigmoid@{self.steepness:g}from{self.first}"


Schedule = Annotated[
    Uniform | OneLayer | Progressive | Pyramid | Stages | Sigmoid, Field(discriminator="kind")
]
KINDS: Final = (Uniform, OneLayer, Progressive, Pyramid, Stages, Sigmoid)
"""Every kind of schedule that a sweep can ask for."""


def num_held(fraction: float, num_tokens: int) -> int:
    """Tokens that a fraction stands for: rounded half up, at least one."""
    return max(1, int(fraction * num_tokens + 0.5))


def _require_layer(name: str, layer: int, num_layers: int) -> None:
    if not 0 <= layer < num_layers:
        raise InfeasibleError(f"{name} {layer} does not exist: the model has {num_layers} layers")


def _layer_at(depth: float, num_layers: int) -> int:
    # A share such as 6 / 32 should name layer 6 of 32, whatever its last bit.
    return min(ceil(depth * num_layers - 1e-6), num_layers - 1)


def _logistic(x: float) -> float:
    return 1 / (1 + exp(-x))
