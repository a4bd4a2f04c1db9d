"""What can go wrong with a trial, what is done about it, and what people can do."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class FailureKind(StrEnum):
    """Why an attempt gave no numbers."""

    INFEASIBLE = "infeasible"
    """The combination does not fit: no failure of anything, and final."""
    VACUOUS = "vacuous"
    """The method compressed nothing, although it was asked to."""
    NOT_FINITE = "not-finite"
    OUT_OF_MEMORY = "out-of-memory"
    TIMEOUT = "timeout"
    WORKER_DIED = "worker-died"
    DEVICE_FAULT = "device-fault"
    MISSING_HERE = "missing-here"
    """The node lacks weights or a package."""
    BUG = "bug"


class Remedy(StrEnum):
    """What the engine does after an attempt that failed, besides recording it."""

    SMALLER_BATCH = "smaller-batch"
    ALONE = "alone"
    AGAIN = "again"
    ELSEWHERE = "elsewhere"


DONE: Final[Mapping[Remedy, str]] = {
    Remedy.SMALLER_BATCH: "run again in smaller batches",
    Remedy.ALONE: "run again alone on its device",
    Remedy.AGAIN: "worker ended, run once more",
    Remedy.ELSEWHERE: "worker ended, run again on another node where there is one",
}

ADVICE: Final[Mapping[FailureKind, str]] = {
    FailureKind.INFEASIBLE: "nothing to repair: the combination is impossible and counted so; "
    "leave it out of the file, or give it the parameters that the cause asks for",
    FailureKind.VACUOUS: "ask for fewer tokens, or choose a schedule under which the method has "
    "something to do",
    FailureKind.NOT_FINITE: "look at the layer that the cause names: weights that hold nan have to "
    "be mended, float16 that overflows wants dtype bfloat16 or float32",
    FailureKind.OUT_OF_MEMORY: "give workers more room (resources: cpus or gpus, fewer workers), a "
    "smaller latency_batch, or fewer tokens per example; then run the file again",
    FailureKind.TIMEOUT: "fewer examples, or a faster device; then run the file again",
    FailureKind.WORKER_DIED: "`paretoken reproduce TRIAL` runs it in a process of your own; the "
    "kernel's log says whether it was ended for memory",
    FailureKind.DEVICE_FAULT: "look at the device (nvidia-smi, dmesg); if every device faults on "
    "this trial, `paretoken reproduce TRIAL` with CUDA_LAUNCH_BLOCKING=1 shows the line",
    FailureKind.MISSING_HERE: "put what the cause names on every node, then run the file again",
    FailureKind.BUG: "`paretoken reproduce TRIAL` runs it again and shows the whole traceback",
}
"""What people can do, by the kind of the last attempt."""
