"""Fields that are computed only if somebody reads them, so that a method pays for what it uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, Generic, TypeVar, cast

from torch import Tensor

T = TypeVar("T")


class Deferred(Generic[T]):
    """A value that is made on first use and kept."""

    def __init__(self, compute: Callable[[], T]) -> None:
        self._compute = compute

    @cached_property
    def value(self) -> T:
        """What ``compute`` returned, called once, when this is first asked for."""
        return self._compute()


def deferred(compute: Callable[[], T]) -> T:
    """Stands for ``compute()`` where a field of a :class:`Resolving` object is given."""
    return cast("T", Deferred(compute))


class Resolving:
    """Base of objects whose fields may be deferred; whoever reads one gets its value."""

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        return value.value if isinstance(value, Deferred) else value


class PerLayer:
    """Reads like a tensor whose first axis is a model's layers; each is computed when read."""

    def __init__(self, layers: Iterable[Callable[[], Tensor]]) -> None:
        self._layers = tuple(Deferred(layer) for layer in layers)

    def __len__(self) -> int:
        return len(self._layers)

    def __getitem__(self, layer: int) -> Tensor:
        return self._layers[layer].value
