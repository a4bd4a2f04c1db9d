"""What differs, for people: counted by reason, and of the trials that stay as they are, no more."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from dashboards.difference_tables import difference_rows, difference_table
from store.comparison.difference import difference
from store.repository import Store
from sweeps.trial import Named, TrialSpec
from tests.store import examples

GRID = [examples.spec(seed=seed, keep_ratio=keep) for keep in (0.75, 0.5) for seed in range(4)]


def planned(specs: list[TrialSpec]) -> list[tuple[str, str, TrialSpec]]:
    return [("digits", f"{spec.keep_ratio:g}", spec) for spec in specs]


def test_the_table_counts_what_the_rows_spell_out_and_spells_out_nothing(store: Store) -> None:
    store.begin_sweep("small", "", {}, planned(GRID), [])
    store.record([examples.finished(spec) for spec in GRID])
    new = GRID[0].model_copy(update={"method": Named(id="evit", version=1)})
    found = difference(store, "small", planned([new, *GRID[1:]]))
    printed = StringIO()
    Console(file=printed, width=120).print(difference_table(found, num_impossible=2))
    assert "changes" not in vars(found)
    lines = [" ".join(line.split()) for line in printed.getvalue().splitlines()]
    counted = "+1 trial, 7 reused, 1 retired; 2 impossible (paretoken plan says why)"
    assert lines[0] == f"small: {counted}"
    assert "7 digits tome measured by small" in lines
    assert "1 digits evit method evit is new" in lines
    rows = difference_rows(found, num_impossible=2)
    assert [rows[fate] for fate in ("new", "reused", "retired", "impossible")] == [1, 7, 1, 2]
    assert len(rows["trials"]) == 9
