"""Which code this is, by the revision of the git checkout that it runs from, and which process."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

import methods

VARIABLE: Final = "PARETOKEN_REVISION"
"""What tells code that was copied to another machine its revision, ``+`` behind it if dirty."""
ROOT: Final = Path(str(methods.__file__)).parents[1]
SOURCES: Final = ("methods", "sweeps", "store", "orchestrator", "dashboards", "constraints.txt")
SECONDS: Final = 10


def process_name() -> str:
    """Node and process: what workers and drivers are called."""
    return f"{platform.node()}:{os.getpid()}"


@cache
def revision() -> tuple[str | None, bool | None]:
    """Commit and whether the sources differ from it; None where that is not known.

    Code that is installed in an environment inside somebody's repository is not at its revision.
    """
    told = os.environ.get(VARIABLE)
    if told:
        return told.rstrip("+"), told.endswith("+")
    commit = _git("rev-parse", "HEAD")
    if commit is None or not _git("ls-files", "methods/base.py"):
        return None, None
    changes = _git("status", "--porcelain", "--", *SOURCES)
    return commit, None if changes is None else bool(changes)


def variables() -> dict[str, str]:
    """The environment that tells other machines what is known here."""
    commit, dirty = revision()
    return {} if commit is None else {VARIABLE: commit + "+" * bool(dirty)}


def _git(*arguments: str) -> str | None:
    """What git answers, or None where it does not."""
    command = ["git", "-C", str(ROOT), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
