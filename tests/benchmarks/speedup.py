"""What fewer tokens really save: realised beside predicted speed-up, and the compressor's share.

    python -m tests.benchmarks.speedup [--place vision|vlm|kv] [--methods tome,snapkv]

Every method runs at a quarter of the tokens, on its paper's schedule, on models of known shape with
random weights (:mod:`tests.benchmarks.speedup_shapes`). Runs without and with compression alternate
and the order within a pair is swapped, after a warm-up, in one thread and in processor
time, which other processes on the machine lengthen least.

- predicted: operations without compression over operations at these token counts, a compressor that
  costs nothing assumed (the control ``uniform`` on the same schedule).
- realised: time without over time with the method, the compressor's included; median of the pairs
  and, in brackets, the lowest and the highest.
- ratio: realised over predicted; the aim is 0.8.
- share: the compressor's part of the run that it works in; the aim is 5 %.

Vision: one forward pass. VLM: from the pixels to the first token. KV: a cache is cut while the
prompt is read, so the saving is in decoding, a step of which is what is compared, and the share is
that of the prefill.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from unittest.mock import patch

import torch
from rich.console import Console
from rich.table import Table

from methods.base import Method
from methods.controls.uniform import Uniform
from methods.registry import entries
from methods.schedule import Schedule
from methods.schedule import Uniform as Everywhere
from tests.benchmarks.speedup_shapes import CPU_CLOCK, SUBJECTS, Subject

KEEP = 0.25
AIM_RATIO, AIM_SHARE = 0.8, 0.05
SHORT = ("tome", "divprune", "snapkv", "h2o")
"""What ``make bench`` measures."""


@dataclass(frozen=True)
class Row:
    """One method at one place."""

    place: str
    method: str
    schedule: str
    predicted: float
    realised: float
    low: float
    high: float
    share: float

    @property
    def ratio(self) -> float:
        """Realised over predicted."""
        return self.realised / self.predicted

    @property
    def on_aim(self) -> bool:
        """Whether both aims are met."""
        return self.ratio >= AIM_RATIO and self.share <= AIM_SHARE


class Measuring:
    """Measures methods on one subject; what is predicted for a schedule is found once."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self._whole = subject.flops(subject.backbone.uncompressed())
        self._left: dict[Schedule, float] = {}
        self._seconds(None, Everywhere())

    def row(self, method_id: str, pairs: int) -> Row:
        """All that the table says about one method."""
        method = entries()[method_id].method()
        schedule = method.home if method.paper else self.subject.control
        ratios, shares = [], []
        for pair in range(pairs):
            order = (None, method) if pair % 2 == 0 else (method, None)
            found = {contender is None: self._seconds(contender, schedule) for contender in order}
            ratios.append(found[True][0] / found[False][0])
            shares.append(found[False][1])
        return Row(
            place=self.subject.place,
            method=method_id,
            schedule=schedule.label,
            predicted=self._predicted(schedule),
            realised=median(ratios),
            low=min(ratios),
            high=max(ratios),
            share=median(shares),
        )

    def _seconds(self, method: Method | None, schedule: Schedule) -> tuple[float, float]:
        """Time of the part that gets faster, and the compressor's share of where it works."""
        backbone = self.subject.backbone
        setting = (
            backbone.uncompressed()
            if method is None
            else backbone.compressed(method, schedule, KEEP, seed=0)
        )
        with processor_time(), setting as compression:
            seconds = self.subject.seconds()
        return seconds[self.subject.part], compression.seconds / seconds[self.subject.paid]

    def _predicted(self, schedule: Schedule) -> float:
        if schedule not in self._left:
            setting = self.subject.backbone.compressed(Uniform(), schedule, KEEP, seed=0)
            self._left[schedule] = self.subject.flops(setting)
        return self._whole / self._left[schedule]


@contextmanager
def processor_time() -> Iterator[None]:
    """Blocks of ``Compression.timed`` read the clock that everything else here reads."""
    with patch("methods.backbones.base.time", SimpleNamespace(perf_counter=CPU_CLOCK)):
        yield


def measurable(place: str) -> list[str]:
    """Methods of one place that reduce tokens and could do so for someone who is served."""
    return [
        entry.id
        for entry in entries().values()
        if place in entry.places and entry.stands_alone and _saves(entry.method())
    ]


def _saves(method: Method) -> bool:
    return method.id() != "identity" and not method.simulated and method.environment is None


def measured(places: Sequence[str], wanted: Sequence[str], pairs: int) -> Iterator[Row]:
    """A row for every wanted method (none: all) at every place that has it."""
    for place in places:
        ids = [id_ for id_ in measurable(place) if not wanted or id_ in wanted]
        if not ids:
            continue
        measuring = Measuring(SUBJECTS[place]())
        for id_ in ids:
            row = measuring.row(id_, pairs)
            sys.stderr.write(f"{_line(row)}\n")
            yield row


def _line(row: Row) -> str:
    return " ".join(_cells(row))


def _cells(row: Row) -> list[str]:
    return [
        row.place,
        row.method,
        row.schedule,
        f"{row.predicted:.2f}",
        f"{row.realised:.2f} [{row.low:.2f}, {row.high:.2f}]",
        f"{row.ratio:.2f}",
        f"{row.share:.1%}",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--place", choices=SUBJECTS)
    parser.add_argument("--methods", default="", help="ids, separated by commas; 'short' for a few")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file to write the rows to")
    parser.add_argument("--markdown", type=Path, help="file to write the tables to")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    wanted = (
        SHORT if chosen.methods == "short" else [id_ for id_ in chosen.methods.split(",") if id_]
    )
    places = [chosen.place] if chosen.place else list(SUBJECTS)
    rows: list[Row] = []
    for row in measured(places, wanted, chosen.pairs):
        rows.append(row)
        if chosen.json:
            # Row by row: it takes long, and what is there should be there.
            chosen.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    _print(rows)
    if chosen.markdown:
        chosen.markdown.write_text(markdown(rows))
    return 0


def markdown(rows: Sequence[Row]) -> str:
    """A table for every place, as ``docs/speed.md`` has them."""
    parts = []
    for place, subject in SUBJECTS.items():
        here = [row for row in rows if row.place == place]
        if not here:
            continue
        head = ("method", "schedule", "predicted", "realised", "ratio", "share")
        lines = [f"### {place}: {subject.title}", "", _markdown_row(head), "|---" * len(head) + "|"]
        lines += [_markdown_row(_cells(row)[1:]) for row in here]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _print(rows: Sequence[Row]) -> None:
    table = Table(title=f"Real speed-up at keep {KEEP} (aims: ratio 0.8, share 5 %)")
    headings = ("place", "method", "schedule", "predicted", "realised", "ratio", "share")
    for heading in headings:
        table.add_column(heading)
    for row in rows:
        table.add_row(*_cells(row), style=None if row.on_aim else "yellow")
    Console(width=110).print(table)


if __name__ == "__main__":
    sys.exit(main())
