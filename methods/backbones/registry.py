"""The folder is the registry: a file in ``backbones/`` that defines a Backbone is an adapter.

Which adapter opens a model is read from the ``architectures`` of its ``config.json``.
"""

from __future__ import annotations

import importlib.util
import inspect
import pkgutil
from functools import cache
from typing import Any

from methods import backbones
from methods.backbones.base import Backbone
from methods.registry import unknown


@cache
def adapters() -> dict[str, type[Backbone]]:
    """Adapters by architecture, sorted. Raises ImportError if two claim the same one.

    Where kvpress is installed, which no environment of ours can have, its own is the only one.
    """
    if importlib.util.find_spec("kvpress") is not None:
        from methods.kvpress._backbone import PressedBackbone

        return dict.fromkeys(sorted(PressedBackbone.architectures), PressedBackbone)
    found: dict[str, type[Backbone]] = {}
    for module in sorted(m.name for m in pkgutil.iter_modules(backbones.__path__)):
        for adapter in _adapters_in(module):
            for architecture in adapter.architectures:
                if architecture in found:
                    raise ImportError(f"two backbones open {architecture}: {module} is one")
                found[architecture] = adapter
    return dict(sorted(found.items()))


def adapter_for(config: dict[str, Any]) -> type[Backbone]:
    """The adapter for a model with this ``config.json``.

    Raises ValueError that names the supported architectures.
    """
    names = config.get("architectures")
    if not isinstance(names, list) or not names or not isinstance(names[0], str):
        raise ValueError(
            f"config.json names no architecture (supported: {', '.join(adapters())}); "
            "save_pretrained of a model class writes it"
        )
    if names[0] not in adapters():
        raise ValueError(unknown("architecture", names[0], adapters()))
    return adapters()[names[0]]


def _adapters_in(name: str) -> list[type[Backbone]]:
    module = importlib.import_module(f"{backbones.__name__}.{name}")
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Backbone)
        and not inspect.isabstract(value)
        and value.__module__ == module.__name__
    ]
