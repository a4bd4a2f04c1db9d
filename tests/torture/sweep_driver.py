"""A real sweep of quick trials: ``python -m tests.torture.sweep_driver FILE URL [ADDRESS]``.

Everything but the trials is what ``paretoken run`` does. Prints the report as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from orchestrator.sweep import run_sweep

RUNNER = "tests.torture.quick:quick"


def main(file: str, url: str, address: str | None = None) -> None:
    """Exit as the command does."""
    try:
        done = run_sweep(Path(file), url, address, {"runner": RUNNER})
    except (ValueError, OSError) as error:
        sys.exit(f"paretoken: {error}")
    sys.stdout.write(json.dumps(done.report.row()) + "\n")
    sys.exit(done.report.exit_code)


if __name__ == "__main__":
    main(*sys.argv[1:])
