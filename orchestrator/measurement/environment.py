"""What besides the spec may explain a number of this process."""

from __future__ import annotations

import platform
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from typing import Any

import torch

from orchestrator.measurement.provenance import revision

PACKAGES = ("paretoken", "torch", "transformers", "numpy")
EXTRAS = ("kvpress",)
"""Noted where an environment has them."""


@cache
def device_label() -> str:
    """The device of this process, for people: node, and CPU or GPU."""
    if not torch.cuda.is_available():
        return f"{platform.node()}/cpu"
    return f"{platform.node()}/gpu-{torch.cuda.get_device_properties().uuid}"


@cache
def environment() -> dict[str, Any]:
    """What besides the spec may explain a number: code, versions, machine, device, threads."""
    cuda = torch.cuda.is_available()
    commit, dirty = revision()
    return {
        "revision": commit,
        "dirty": dirty,
        "python": platform.python_version(),
        "packages": {
            name: metadata.version(name) for name in (*PACKAGES, *filter(find_spec, EXTRAS))
        },
        "platform": platform.platform(),
        "machine": platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "threads": torch.get_num_threads(),
    }
