"""``make docs``: the README's table of implemented methods, from the registry."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dashboards.method_tables import evidence_text
from orchestrator.catalogue.method_listings import IMPLEMENTED, Row, methods

START: Final = "<!-- methods: written by make docs -->"
END: Final = "<!-- end of methods -->"


def with_table(page: str) -> str:
    """The page with a fresh table between its markers. Raises ValueError if it has none."""
    pattern = re.compile(f"{re.escape(START)}.*?{re.escape(END)}", re.DOTALL)
    if len(pattern.findall(page)) != 1:
        raise ValueError(f"the page must have {START} and {END} once")
    return pattern.sub(lambda _: f"{START}\n{markdown()}\n{END}", page)


def markdown() -> str:
    """Methods with a paper, one line each, under their families; the others by name."""
    rows = methods(status=IMPLEMENTED)
    families = dict.fromkeys(row["family"] for row in rows)
    parts = [_family(name, [row for row in rows if row["family"] == name]) for name in families]
    lines = sum(row["paper"] is not None for row in rows)
    counted = f"{len(rows)} methods of {len(parts)} families, {lines} of them from papers"
    summary = f"<summary>{counted}</summary>"
    return "\n\n".join([f"<details>{summary}", *parts, "</details>"])


def _family(name: str, rows: Sequence[Row]) -> str:
    lines = [_line(row) for row in rows if row["paper"] is not None]
    others = ", ".join(f"`{row['id']}`" for row in rows if row["paper"] is None)
    table = ["| method | paper | evidence |", "| --- | --- | --- |", *lines] if lines else []
    without = [f"Without a paper: {others}."] if others else []
    return "\n\n".join(filter(None, [f"**{name}**", "\n".join(table), *without]))


def _line(row: Row) -> str:
    title = row["paper"].replace("|", r"\|")
    address = f"https://arxiv.org/abs/{row['arxiv']}" if row["arxiv"] else row["code"]
    linked = f"[{title}]({address})" if address else title
    return f"| `{row['id']}` | {linked} | {evidence_text(row)} |"


def main() -> None:
    """Rewrite the page named on the command line."""
    page = Path(sys.argv[1])
    page.write_text(with_table(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
