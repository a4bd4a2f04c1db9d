"""``make torture``: thousands of broken sweep files; each plans or is refused with its place.

``python -m tests.torture.sweep_files --count 10000``; ``--seed N --count 1`` repeats one of them.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # a mutation may name a model of the hub

from sweeps.load import load_sweep
from sweeps.mistakes import SweepFileError
from sweeps.plan import plan
from tests.torture.mutations import mutated

MOST_CPU_SECONDS = 30.0
"""Of one file; a bomb would take minutes."""
LONGEST_MESSAGE = 20_000
WITHOUT_PLACE = ("larger than", "cannot be read")
"""What is wrong with a file as a whole."""


def outcome(content: bytes, file: Path) -> str:
    """``planned`` or ``refused``. Raises AssertionError, or whatever got out."""
    file.write_bytes(content)
    try:
        plan(load_sweep(file))
    except SweepFileError as error:
        require_places(error, str(file))
        return "refused"
    return "planned"


def require_places(error: SweepFileError, file: str) -> None:
    """Every mistake is a sentence with a line and a column."""
    assert error.errors
    for mistake in error.errors:
        assert mistake.message.strip(), "no sentence"
        assert "validation error" not in mistake.message, mistake.message
        assert "Traceback" not in mistake.message, mistake.message
        assert len(mistake.message) <= LONGEST_MESSAGE, len(mistake.message)
        if not mistake.message.startswith(WITHOUT_PLACE):
            assert (mistake.line or 0) >= 1, mistake
            assert (mistake.column or 0) >= 1, mistake
            assert str(mistake).startswith(f"{file}:"), mistake


def torture(
    first: int, count: int, most_seconds: float = math.inf
) -> tuple[Counter[str], list[int]]:
    """Outcomes of so many files, and the seeds of those for which there was none."""
    outcomes: Counter[str] = Counter()
    broken = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sweep.yaml"
        for seed in range(first, first + count):
            started = time.process_time()
            try:
                outcomes[outcome(mutated(seed), file)] += 1
                seconds = time.process_time() - started
                assert seconds < most_seconds, f"took {seconds:.1f} s of CPU time"
            except Exception:
                broken.append(seed)
                sys.stderr.write(f"seed {seed}\n{traceback.format_exc()}\n")
    return outcomes, broken


def main() -> None:
    """Run, print counts, and exit with 1 if anything but a plan or a located error came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first file")
    arguments = parser.parse_args()
    outcomes, broken = torture(arguments.seed, arguments.count, MOST_CPU_SECONDS)
    print(", ".join(f"{count:,} {name}" for name, count in sorted(outcomes.items())))
    if broken:
        sys.exit(f"{len(broken)} files gave neither a plan nor a located error: {broken[:20]}")


if __name__ == "__main__":
    main()
