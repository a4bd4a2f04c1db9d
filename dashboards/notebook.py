"""Results in a notebook: pandas frames and Plotly figures in three lines.

::

    from dashboards.notebook import open_store

    sweep = open_store().sweep("quickstart")
    sweep.trials()  # a pandas frame, a row per trial
    sweep.figure("digits")  # a Plotly figure that explains every point

Everything is read when it is asked for, so that a sweep that still runs shows what it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dashboards.panels import Panel, panels
from dashboards.rows import Row, stored_rows
from store.questions.answers import ask
from store.questions.asked import BestQuestion, FrontierQuestion, Question, RankQuestion
from store.questions.standing import standings
from store.repository import Store
from store.url import absolute, default_url

if TYPE_CHECKING:
    from pandas import DataFrame


def open_store(url: str | None = None) -> Results:
    """The store at ``url``, else where :func:`store.url.default_url` says, as for commands.

    Raises ValueError for a URL that cannot be a store.
    """
    return Results(Store(absolute(url) if url else default_url()))


class Results:
    """All sweeps of a store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def sweeps(self) -> DataFrame:
        """A row per sweep, the latest first: how far it is and when it ran (UTC)."""
        import pandas as pd

        return pd.DataFrame(list(self.store.sweeps()))

    def sweep(self, name: str) -> SweepResults:
        """One of them. Raises ValueError that names the nearest."""
        self.store.spec(name)
        return SweepResults(self.store, name)


class SweepResults:
    """One sweep; costs are fractions of the uncompressed model's unless their names say a unit."""

    def __init__(self, store: Store, name: str) -> None:
        self.store, self.name = store, name

    def __repr__(self) -> str:
        return f"SweepResults({self.name!r})"

    def trials(self, workload: str | None = None) -> DataFrame:
        """A row per finished trial, with every metric and where it stands.

        ``pareto_rank`` is 1 on the frontier, 2 on that of the rest, 0 for what does not compete;
        ``hyperparameters`` are dicts. Raises ValueError for an unknown workload.
        """
        import pandas as pd

        ranks = standings(self.store, self.name)
        rows = [_flat(row) for row in self._rows(workload)]
        frame = pd.DataFrame(rows)
        if rows:
            frame["pareto_rank"] = [ranks[trial].rank for trial in frame["trial"]]
        return frame

    def frontier(self, **asked: Any) -> DataFrame:
        """A row per configuration over all seeds, the likeliest on the frontier first.

        ``asked`` are fields of :class:`store.questions.asked.FrontierQuestion`, such as
        ``workload`` or ``maximum={"flops": 0.5}``.
        """
        frame = self._answers(FrontierQuestion(**asked), "configurations")
        return frame.sort_values(["workload", "probability"], ascending=[True, False])

    def rank(self, **asked: Any) -> DataFrame:
        """A row per method, the best first: area under quality over a ladder of keep ratios.

        ``asked`` are fields of :class:`store.questions.asked.RankQuestion`.
        """
        return self._answers(RankQuestion(**asked), "methods")

    def best(self, **asked: Any) -> DataFrame:
        """The best configuration of each workload within limits.

        ``asked`` are fields of :class:`store.questions.asked.BestQuestion`, such as
        ``of="flops", within="1%"``.
        """
        import pandas as pd

        rows = ask(self.store, self.name, BestQuestion(**asked))
        return pd.DataFrame(
            _spread({"workload": row["workload"], **row["chosen"]})
            for row in rows
            if row.get("chosen")
        )

    def outcomes(self, *trials: str) -> DataFrame:
        """A row per example, a column per trial; by default those of the frontier."""
        import pandas as pd

        chosen = trials or [row.point.trial for row in self._rows() if row.on_frontier]
        read = self.store.all_outcomes(chosen)
        return pd.DataFrame({trial: pd.Series(read[trial].values) for trial in chosen})

    def figure(self, workload: str | None = None) -> Any:
        """Quality against cost as a Plotly figure; resting on a point explains it."""
        from dashboards.interactive import figure

        return figure(self.name, self._panels(workload))

    def drawing(self, workload: str | None = None) -> Drawing:
        """The same as vectors, for pages without scripts."""
        from dashboards.picture import chart

        return Drawing(chart(self._panels(workload)[0], "svg").decode())

    def _rows(self, workload: str | None = None) -> list[Row]:
        return stored_rows(self.store, self.name, workload)

    def _panels(self, workload: str | None) -> list[Panel]:
        drawn = panels(self._rows(workload), self.store.objectives(self.name))
        if not drawn:
            raise ValueError(f"sweep {self.name!r} has nothing to draw yet")
        return drawn

    def _answers(self, question: Question, part: str) -> DataFrame:
        import pandas as pd

        rows = ask(self.store, self.name, question)
        return pd.DataFrame(
            _spread({"workload": row["workload"], **each})
            for row in rows
            for each in row.get(part, ())
        )


class Drawing:
    """A figure that a notebook shows and that ``svg`` holds."""

    def __init__(self, svg: str) -> None:
        self.svg = svg

    def _repr_svg_(self) -> str:
        return self.svg


def _flat(row: Row) -> dict[str, Any]:
    content = row.as_json()
    metrics = content.pop("metrics")
    return {**content, **metrics}


def _spread(row: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics as columns of their own; what the answer says itself, such as quality, wins."""
    own = {name: value for name, value in row.items() if name != "metrics"}
    return {**own, **row.get("metrics", {}), **own}
