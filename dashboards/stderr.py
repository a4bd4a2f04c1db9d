"""Lines for people, apart from results, which go to stdout."""

from __future__ import annotations

import sys


def log(line: str) -> None:
    """One line on stderr, at once."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
