"""A real sweep of quick trials: ``python -m tests.torture.sweep_driver FILE URL [ADDRESS]``.

Everything but the trials, and their deadline, is what ``paretoken run`` does. Prints the report as
JSON.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from orchestrator.sweep import run_sweep

RUNNER = "tests.torture.quick:quick"
DEADLINE = "PARETOKEN_TORTURE_DEADLINE"
"""Seconds that a trial may take; 3600 where it is not set."""


def main(file: str, url: str, address: str | None = None) -> None:
    """Exit as the command does."""
    pool = {"runner": RUNNER, "trial_timeout_s": float(os.environ.get(DEADLINE, 3600.0))}
    try:
        done = run_sweep(Path(file), url, address, pool)
    except (ValueError, OSError) as error:
        sys.exit(f"paretoken: {error}")
    sys.stdout.write(json.dumps(done.report.row()) + "\n")
    sys.exit(done.report.exit_code)


if __name__ == "__main__":
    main(*sys.argv[1:])
