"""A report as HTML, Markdown or LaTeX, each from a Jinja template of that name."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from dashboards.report.document import Cite, Document

_LATEX: Final = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: "\\" + character for character in "&%$#_"},
    "±": r"$\pm$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "…": r"\dots{}",
    "·": r"$\cdot$",
}
_MARKDOWN: Final = re.compile(r"([\\`*_\[\]<>|])")


def html(document: Document) -> str:
    """One page that loads nothing."""
    return _render("report.html.jinja", document, _in_html, autoescape=True)


def markdown(document: Document) -> str:
    """GitHub's dialect; figures are part of the file, as data addresses."""
    return _render("report.md.jinja", document, _in_markdown)


def latex(document: Document) -> str:
    """A document that compiles, with tables to copy (booktabs) and the bibliography in it."""
    return _render("report.tex.jinja", document, _in_latex)


def _render(
    template: str, document: Document, cell: Callable[[Any], str], autoescape: bool = False
) -> str:
    environment = Environment(
        loader=PackageLoader("dashboards.report"),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"cell": cell, "data": _data, "anchor": _anchor}
    return environment.get_template(template).render(document=document)


def _in_html(value: object) -> str:
    if isinstance(value, Cite):
        return Markup('<a href="#{}">[{}]</a>').format(value.key, value.number)
    return escape(str(value))


def _in_markdown(value: object) -> str:
    if isinstance(value, Cite):
        return f"\\[{value.number}\\]"
    return _MARKDOWN.sub(r"\\\1", " ".join(str(value).splitlines()))


def _in_latex(value: object) -> str:
    if isinstance(value, Cite):
        return rf"\cite{{{value.key}}}"
    return "".join(_LATEX.get(character, character) for character in str(value))


def _data(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _anchor(title: str) -> str:
    return re.sub(r"\W+", "-", title.lower()).strip("-")
