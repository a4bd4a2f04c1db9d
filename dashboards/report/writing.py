"""A sweep's report in the format that was asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from dashboards.figures import write_file
from dashboards.report.composition import composed
from dashboards.report.document import Document
from dashboards.report.evidence import gather
from store.repository import Store
from store.url import inside

ENDINGS: Final = {"html": "html", "pdf": "pdf", "md": "md", "latex": "tex"}
"""File name endings by format."""


def write_report(store: Store, sweep: str, format_: str | None, out: Path | None) -> Path:
    """Write one self-contained file, complete or not at all, and return where it is.

    Without a format the ending of ``out`` tells it; without both it is ``SWEEP.html`` here. Raises
    ValueError for a sweep that does not exist or has nothing finished, and for an ending that
    tells nothing.
    """
    chosen = format_ or _format_of(out)
    path = out or inside(Path.cwd(), f"{sweep}.{ENDINGS[chosen]}")
    document = composed(gather(store, sweep))
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_file(path, _formats()[chosen](document))


def _format_of(out: Path | None) -> str:
    if out is None:
        return "html"
    for name, ending in ENDINGS.items():
        if out.suffix == f".{ending}":
            return name
    raise ValueError(f"--out {out}: end it in {', '.join(ENDINGS.values())}, or give --format")


def _formats() -> Mapping[str, Callable[[Document], bytes]]:
    from dashboards.report import markup
    from dashboards.report.pdf import pdf

    return {
        "html": lambda document: markup.html(document).encode(),
        "md": lambda document: markup.markdown(document).encode(),
        "latex": lambda document: markup.latex(document).encode(),
        "pdf": pdf,
    }
