"""From an exception to what failed and why, in the process where it happened."""

from __future__ import annotations

import gc
import re
import traceback
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import nn

from methods.backbones.base import VacuousCompressionError
from methods.infeasible import InfeasibleError, MissingHereError
from sweeps.failures import FailureKind
from sweeps.trial import TrialState

_MEMORY: Final = re.compile(
    r"out of memory|can't allocate memory|not enough memory|Cannot allocate memory"
    r"|CUBLAS_STATUS_ALLOC_FAILED|std::bad_alloc"
)
"""How allocators say it where they raise a plain RuntimeError."""
_DEVICE: Final = re.compile(
    r"CUDA error|CUDA driver error|CUDNN_STATUS|cuDNN error|CUBLAS_STATUS|NVML|HIP error"
    r"|device-side assert"
)
"""After these, nothing that the process computes on its device is to be believed."""
_KINDS: Final[list[tuple[type[Exception] | tuple[type[Exception], ...], FailureKind]]] = [
    (VacuousCompressionError, FailureKind.VACUOUS),
    (FloatingPointError, FailureKind.NOT_FINITE),
    ((MemoryError, torch.OutOfMemoryError), FailureKind.OUT_OF_MEMORY),
    (MissingHereError, FailureKind.MISSING_HERE),
    (InfeasibleError, FailureKind.INFEASIBLE),
]


def failure_of(error: Exception) -> dict[str, Any]:
    """What failed, and why, as fields of a result."""
    kind = kind_of(error)
    text = str(error).strip() or type(error).__name__
    if kind is FailureKind.BUG:
        text = f"{type(error).__name__}: {text}\n{traceback.format_exc()}"
    return {"failure": kind, "error": text}


def state_of(kind: FailureKind) -> TrialState:
    """What is impossible has not failed."""
    impossible = kind is FailureKind.INFEASIBLE
    return TrialState.INFEASIBLE if impossible else TrialState.FAILED


def kind_of(error: Exception) -> FailureKind:
    """What everything else is: a bug."""
    for types, kind in _KINDS:
        if isinstance(error, types):
            return kind
    if isinstance(error, RuntimeError | OSError):
        text = str(error)
        if _MEMORY.search(text):
            return FailureKind.OUT_OF_MEMORY
        if _DEVICE.search(text):
            return FailureKind.DEVICE_FAULT
    return FailureKind.BUG


def free_memory() -> None:
    """Give back what allocators keep for later."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def where_not_finite(model: nn.Module, run: Callable[[], object]) -> str:
    """Runs once more and says, in a few words, where the first number came from that is none."""
    names = {module: name for name, module in model.named_modules()}
    first: list[nn.Module] = []

    def look(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if not first and not _finite(output) and _finite(inputs):
            first.append(module)

    handles = [module.register_forward_hook(look) for module in names if _is_leaf(module)]
    try:
        run()
    except FloatingPointError:
        pass  # what is being looked for
    finally:
        for handle in handles:
            handle.remove()
    if not first:
        return "every layer of the model gives finite numbers: they are lost behind it"
    poisoned = [name for name, each in first[0].named_parameters() if not _finite(each)]
    weights = f", whose {' and '.join(poisoned)} is not finite itself" if poisoned else ""
    return f"first in {names[first[0]]}{weights}"


def _is_leaf(module: nn.Module) -> bool:
    return next(module.children(), None) is None


def _finite(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return not value.is_floating_point() or bool(value.isfinite().all())
    return all(map(_finite, value)) if isinstance(value, tuple | list) else True
