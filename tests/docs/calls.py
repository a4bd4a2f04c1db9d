"""Runs the commands of a file, ours in one process: ``python -m tests.docs.calls FILE``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from orchestrator.cli import app
from tests.docs.pages import arguments


def call(command: str) -> None:
    """Raises SystemExit with a code other than 0, or CalledProcessError, if it fails."""
    parsed = arguments(command)
    if parsed is None:
        subprocess.run(["bash", "-euc", command], check=True)
        return
    try:
        app(parsed)
    except SystemExit as end:
        if end.code:
            raise


if __name__ == "__main__":
    for line in Path(sys.argv[1]).read_text().splitlines():
        call(line)
