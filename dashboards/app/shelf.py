"""What pages read of a store, kept in memory while the store stays the same.

Everything is filed under the store's revision of the sweep, so that a page that is asked again
costs one small query, and a sweep that runs shows what is new.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from dashboards.app.configurations import Configurations, configurations_of
from store.frontiers.bootstrap import Bootstrap
from store.frontiers.paired import Paired, Resampled, load
from store.frontiers.uncertainty import Judged, judge
from store.questions.answers import ask
from store.questions.asked import RankQuestion
from store.repository import Store

T = TypeVar("T")
_KEPT: Final = 64
"""Answers in memory; of a large workload, one takes a few megabytes."""


class Shelf:
    """Reads of one store, from any thread.

    A question about a sweep or workload that does not exist raises ValueError.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._kept: OrderedDict[tuple[str, ...], Any] = OrderedDict()
        self._locks: defaultdict[tuple[str, ...], threading.Lock] = defaultdict(threading.Lock)

    def configurations(self, sweep: str, workload: str) -> Configurations:
        """Every configuration with its numbers, column by column."""
        return self._filed(
            ("configurations", sweep, workload),
            lambda: configurations_of(
                self.store.points(sweep, workload), self.store.objectives(sweep)[workload]
            ),
        )

    def workloads(self, sweep: str) -> list[str]:
        """In the order of the sweep file."""
        return list(self.store.spec(sweep).get("workloads", {}))

    def paired(self, sweep: str, workload: str) -> Paired:
        """Outcomes side by side. Raises ValueError where quality was not measured."""
        return self._filed(
            ("paired", sweep, workload), lambda: load(self.store, sweep, workload)[0]
        )

    def judged(self, sweep: str, workload: str) -> list[Judged]:
        """Every configuration with its interval and its probability of being on the frontier."""
        return self._filed(
            ("judged", sweep, workload),
            lambda: judge(Resampled(self.paired(sweep, workload), Bootstrap())),
        )

    def odds(self, sweep: str, workload: str) -> bytes:
        """The same for a browser: lists in JSON, beside the columns of the configurations."""
        judged = self.judged(sweep, workload)
        return self._filed(
            ("odds", sweep, workload),
            lambda: _beside(self.configurations(sweep, workload), judged),
        )

    def rank(self, sweep: str, workload: str) -> dict[str, Any]:
        """Methods over the ladder, as :func:`store.questions.answers.ask` ranks them."""
        return self._filed(
            ("rank", sweep, workload),
            lambda: ask(self.store, sweep, RankQuestion(workload=workload))[0],
        )

    def revision(self, sweep: str) -> str:
        """Changes whenever something about the sweep may have."""
        return self.store.revision(sweep)

    def warm(self) -> None:
        """Read what is likely to be looked at first: the first workload of the latest sweep."""
        latest = next((each.name for each in self.store.sweeps() if each.finished), None)
        if latest is not None:
            for workload in self.workloads(latest)[:1]:
                _ = self.configurations(latest, workload).as_json

    def _filed(self, name: tuple[str, ...], read: Callable[[], T]) -> T:
        """The answer of this revision; made once, however many ask at a time."""
        key = (*name, self.revision(name[1]))
        with self._locks[name]:
            found: T = self._kept[key] if key in self._kept else read()
            self._kept[key] = found
            self._kept.move_to_end(key)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return found


def _beside(found: Configurations, judged: Iterable[Judged]) -> bytes:
    by_trial = {each.configuration.trials[0]: each for each in judged}
    rows = [by_trial.get(group.trials[0]) for group in found.groups]
    columns = {
        name: [None if row is None else round(getattr(row, name), 6) for row in rows]
        for name in ("low", "high", "probability")
    }
    return json.dumps(columns, separators=(",", ":")).encode()
