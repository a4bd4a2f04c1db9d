"""``make torture``: everything a sweep consists of is killed at random instants of it.

``python -m tests.torture.kill_matrix --trials 200 --instants 20 --victims driver writer``. For each
victim a sweep of its own is disturbed at so many instants; afterwards it must be what an
undisturbed one is. The instants are seeded; they are counted in trials begun, plus a fraction of a
second.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.disks import small_disk
from tests.postgres import mortal
from tests.torture.battlefield import Battlefield, ended
from tests.torture.victims import (
    DatabaseServer,
    Disk,
    Driver,
    MlflowServer,
    Node,
    OneProcess,
    Twin,
    Victim,
    cluster,
)

TRIALS_OF_A_SEED = 16
AHEAD = 12
"""Trials that may end after an instant until the next one has come."""
VICTIMS = ("driver", "twin", "worker", "writer", "database", "disk", "node", "mlflow")
LLAMA = {
    "vocab_size": 256,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
}


@dataclass
class Outcome:
    """One victim's row of the table."""

    victim: str
    killed_at: list[int]
    """Trials begun at each instant."""
    in_flight: int
    """Trials that were begun and not durable at any of them."""
    done_again: int
    resumed: int
    """Runs after the first."""
    seconds: float

    def __str__(self) -> str:
        at = " ".join(map(str, self.killed_at))
        return (
            f"| {self.victim} | {len(self.killed_at)} | {at} | {self.resumed} | {self.in_flight} | "
            f"{self.done_again} | none | {self.seconds:.0f} |"
        )


HEADER = """| victim | kills | at trial | resumed | in flight | done again | differences | seconds |
| --- | --- | --- | --- | --- | --- | --- | --- |"""


class Campaign:
    """One sweep, disturbed at given instants."""

    def __init__(self, field: Battlefield, seed: int) -> None:
        self._field, self._chance = field, random.Random(seed)
        self._in_flight: set[str] = set()
        self._killed_at: list[int] = []
        self._runs = 1
        self._left_behind = False

    def fight(self, name: str, strikes: Sequence[tuple[int, Victim]]) -> Outcome:
        """Strike whenever so many trials have begun, and examine what came of it."""
        started, num_trials = time.monotonic(), len(self._field.expected)
        with ExitStack() as stack:
            process = stack.enter_context(ended(self._field.start()))
            for moment, victim in strikes:
                if moment:  # a strike takes seconds, in which another driver would end the sweep
                    self._field.open(moment + AHEAD)
                self._field.wait_for_attempts(moment, process)
                time.sleep(self._chance.uniform(0, 0.5))
                process = stack.enter_context(ended(self._strike(victim, process)))
            self._field.open()
            report = self._field.report(process)
        self._examine(report, self._field.said(process))
        done_again = sum(self._field.attempts.values()) - num_trials
        return Outcome(
            victim=name,
            killed_at=self._killed_at,
            in_flight=len(self._in_flight),
            done_again=done_again,
            resumed=self._runs - 1,
            seconds=time.monotonic() - started,
        )

    def _strike(self, victim: Victim, process: Any) -> Any:
        self._killed_at.append(len(self._field.attempts))
        before = self._field.attempts.keys() - self._field.finished
        at_work = process.poll() is None and bool(before)
        after = victim.strike(self._field, process, self._chance)
        self._in_flight |= before | (self._field.attempts.keys() - self._field.finished)
        self._runs += after is not process
        self._left_behind |= at_work and after is not process
        return after

    def _examine(self, report: dict[str, Any], said: str) -> None:
        field = self._field
        ended = sum(report[name] for name in ("reused", "measured", "adopted"))
        assert ended == report["planned"] == len(field.expected), report
        field.require_undisturbed_numbers()
        field.require_tidy_mlflow()
        again = {trial for trial, times in field.attempts.items() if times > 1}
        assert again <= self._in_flight, f"durable before, and run again: {again - self._in_flight}"
        if self._left_behind:
            found = report["reconciliation"]
            assert found["dead"] or self._runs > 2, found  # of several runs the last one reports
            assert found["finished"] == report["reused"], found
            assert "found: " in said or "took over from " in said, said


def instants(num_trials: int, count: int, seed: int) -> list[int]:
    """Trials begun by then, from before the first to just before the last."""
    return sorted(random.Random(seed).sample(range(num_trials - 3), min(count, num_trials - 3)))


@contextmanager
def battlefield(name: str, folder: Path, num_seeds: int) -> Iterator[tuple[Battlefield, Victim]]:
    """A field and the victim on it; databases servers, nodes and the like end with the block."""
    llama, own = folder / "llama", folder / name
    url = f"sqlite:///{own}/paretoken.db"
    with ExitStack() as stack:
        if name == "database":
            server = stack.enter_context(mortal())
            yield (
                Battlefield(own, llama, server.url(server.create()), num_seeds),
                (DatabaseServer(server, 20.0)),
            )
        elif name == "disk":
            disk = stack.enter_context(small_disk(folder / "small", megabytes=200))
            full = f"sqlite:///{disk}/paretoken.db"
            yield Battlefield(own, llama, full, num_seeds), Disk(disk, 10.0)
        elif name == "node":
            nodes = stack.enter_context(cluster(own / "notes"))
            yield Battlefield(own, llama, url, num_seeds, nodes.address), Node(nodes)
        elif name == "mlflow":
            field = Battlefield(own, llama, url, num_seeds)
            yield field, MlflowServer(stack, url)
        else:
            yield Battlefield(own, llama, url, num_seeds), _PLAIN[name]


_PLAIN: dict[str, Victim] = {
    "driver": Driver(),
    "twin": Twin(),
    "worker": OneProcess("ray::Worker"),
    "writer": OneProcess("ray::Writer"),
}


def main() -> None:
    """Print a row for each victim; exit with 1 if one was not survived."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--instants", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--victims", nargs="+", default=VICTIMS, choices=VICTIMS)
    chosen = parser.parse_args()
    from tests.models import save_llama

    survived = True
    print(HEADER, flush=True)
    with tempfile.TemporaryDirectory(prefix="paretoken-torture-") as folder:
        save_llama(Path(folder) / "llama", **LLAMA)
        for name in chosen.victims:
            num_seeds = max(1, chosen.trials // TRIALS_OF_A_SEED)
            try:
                with battlefield(name, Path(folder), num_seeds) as (field, victim):
                    moments = instants(len(field.expected), chosen.instants, chosen.seed)
                    times = 2 if name == "twin" else 1  # one begins to wait, the other is killed
                    strikes = [(moment, victim) for moment in moments for _ in range(times)]
                    print(Campaign(field, chosen.seed).fight(name, strikes), flush=True)
            except Exception:
                survived = False
                sys.stderr.write(f"{name}, seed {chosen.seed}\n{traceback.format_exc()}\n")
    sys.exit(not survived)


if __name__ == "__main__":
    main()
