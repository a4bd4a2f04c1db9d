"""A sweep file, read and checked: every mistake with file, line and column, all at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sweeps.mistakes import Mistake, SweepFileError, expected, show
from sweeps.spec import Source, SweepSpec
from sweeps.yaml_tree import Complaint, Tree, read

LARGEST_FILE = 2**20  # bytes


def load_sweep(path: str | os.PathLike[str]) -> SweepSpec:
    """The sweep in a YAML file. Raises :class:`SweepFileError` with all its mistakes."""
    file = os.fspath(path)
    return parse_sweep(_text(file), file)


def parse_sweep(text: str, file: str = "sweep.yaml") -> SweepSpec:
    """The sweep in a YAML text; ``file`` names it in errors and anchors its relative paths.

    Raises :class:`SweepFileError` with all mistakes.
    """
    tree = read(text)
    source = Source(file, Path(file).absolute().parent, tree, text)
    mistakes = [_from_complaint(complaint, file) for complaint in tree.complaints]
    spec, invalid = _validated(tree, source)
    mistakes += invalid
    if spec is None or mistakes:
        raise SweepFileError(mistakes)
    spec._source = source
    return spec


def _validated(tree: Tree, source: Source) -> tuple[SweepSpec | None, list[Mistake]]:
    """The spec, or what is wrong with it beyond what reading complained about."""
    if not isinstance(tree.data, dict):
        if tree.complaints:
            return None, []
        sentence = expected("a mapping with name and workloads", tree.data)
        return None, [source.mistake(sentence, (), value=show(tree.data))]
    try:
        return SweepSpec.model_validate(tree.data), []
    except ValidationError as error:
        return None, [
            _from_details(details, source)
            for details in error.errors()
            if tree.within(details["loc"]) not in tree.unreadable
        ]


def _from_details(details: Any, source: Source) -> Mistake:
    context = details["ctx"]
    value = None if details["input"] is None else show(details["input"])
    return source.mistake(
        context["sentence"],
        details["loc"],
        at_key=context["at_key"],
        value=value,
        choices=context["choices"],
        nearest=context["nearest"],
    )


def _from_complaint(complaint: Complaint, file: str) -> Mistake:
    path = ".".join(map(str, complaint.loc))
    return Mistake(complaint.message, file, *complaint.place, path, complaint.value)


def _text(file: str) -> str:
    try:
        with open(file, "rb") as stream:
            content = stream.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise SweepFileError([Mistake(f"cannot be read: {reason}", file)]) from None
    if len(content) > LARGEST_FILE:
        sentence = f"larger than {LARGEST_FILE:,} bytes; a sweep file is a few kilobytes"
        raise SweepFileError([Mistake(sentence, file)])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SweepFileError([_not_utf8(content, error.start, file)]) from None


def _not_utf8(content: bytes, start: int, file: str) -> Mistake:
    before = content[:start]
    line = before.count(b"\n") + 1
    column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
    sentence = f"not UTF-8 text: the byte 0x{content[start]:02x} stands here"
    return Mistake(sentence, file, line, column)
