"""The papers of a sweep's methods, numbered and as BibTeX."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from dashboards.report.document import Cite, Reference
from dashboards.rows import STACK, STAGES
from store.records import Point

_WORD = re.compile(r"[A-Za-z0-9]+")
_SMALL = {"a", "an", "and", "are", "for", "in", "is", "of", "on", "the", "to", "via", "with"}


def references(points: Iterable[Point]) -> list[Reference]:
    """One entry for every paper of the methods that were measured, stages of stacks included.

    Controls and methods that this installation no longer has come without one. Imports torch.
    """
    by_paper: dict[Any, list[str]] = {}
    for name in dict.fromkeys(name for point in points for name in used(point)):
        if (paper := _paper(name)) is not None:
            by_paper.setdefault(paper, []).append(name)
    ordered = sorted(by_paper.items(), key=lambda item: item[1])
    keys = _unique(_key(paper) for paper, _ in ordered)
    return [
        _reference(Cite(key, number), paper, methods)
        for number, (key, (paper, methods)) in enumerate(zip(keys, ordered, strict=True), start=1)
    ]


def used(point: Point) -> list[str]:
    """Ids of the methods at work: those of a stack, or the only one."""
    stages = point.hyperparameters.get(STAGES, []) if point.method == STACK else []
    return [str(stage["method"]) for stage in stages] or [point.method]


def _paper(method: str) -> Any:
    from methods.registry import entry

    try:
        return entry(method).method.paper
    except ValueError:
        return None


def _reference(cite: Cite, paper: Any, methods: list[str]) -> Reference:
    address = f"https://arxiv.org/abs/{paper.arxiv}" if paper.arxiv else paper.code
    year = _year(paper.arxiv)
    return Reference(cite, paper.title, address, year, methods, _bibtex(cite.key, paper, year))


def _bibtex(key: str, paper: Any, year: str | None) -> str:
    fields = {"title": f"{{{paper.title}}}"}
    if paper.arxiv:
        fields |= {
            "eprint": paper.arxiv,
            "archivePrefix": "arXiv",
            "url": f"https://arxiv.org/abs/{paper.arxiv}",
        }
    fields |= {"year": year} if year else {}
    fields |= {"note": f"Code: {paper.code}"} if paper.code else {}
    lines = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items())
    return f"@misc{{{key},\n{lines}}}"


def _year(arxiv: str | None) -> str | None:
    """arXiv ids begin with two digits of the year."""
    return f"20{arxiv[:2]}" if arxiv and re.match(r"\d{4}\.", arxiv) else None


def _key(paper: Any) -> str:
    """The first telling word of the title and the arXiv id."""
    words = [word for word in _WORD.findall(paper.title) if word.lower() not in _SMALL]
    return "-".join([words[0].lower() if words else "paper", *([paper.arxiv] * bool(paper.arxiv))])


def _unique(keys: Iterable[str]) -> list[str]:
    seen: dict[str, int] = {}
    found = []
    for key in keys:
        seen[key] = seen.get(key, 0) + 1
        found.append(key if seen[key] == 1 else f"{key}-{seen[key]}")
    return found
