"""Whether a process that wrote its name somewhere still lives, where that can be known for certain.

A process number alone says little: numbers are used again, and every container counts its own. What
is compared is the machine's boot and the namespace in which numbers count, then the number together
with the moment, in ticks since the boot, at which the process began.
"""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4

import psutil

_STATE, _STARTED = 0, 19
"""Fields of ``/proc/PID/stat`` after the command's name."""


def place() -> str:
    """This boot of this machine, and this namespace; unlike any other where that is not known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return uuid4().hex


def process(pid: int | None = None) -> str:
    """A process of this place, this one if none is given; empty where it cannot be told."""
    number = pid or os.getpid()
    fields = _stat(number)
    return f"{number} {fields[_STARTED]}" if fields else ""


def has_ended(at: str, who: str) -> bool:
    """True only if it is certain that process ``who`` of place ``at`` is gone."""
    if at != place() or not who:
        return False
    number, started = who.split()
    fields = _stat(int(number))
    if not fields:  # or another user's, and hidden
        return not psutil.pid_exists(int(number))
    return fields[_STATE] in "ZX" or fields[_STARTED] != started


def _stat(pid: int) -> list[str]:
    """What the system tells about a process; nothing if there is none, or it is hidden."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
