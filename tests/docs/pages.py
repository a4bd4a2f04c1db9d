"""Pages of the documentation, and what is fenced in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
_TITLE = re.compile(r"# (\S+\.(?:py|ya?ml|csv))$")
SHELL = ("sh", "console")


@dataclass(frozen=True)
class Snippet:
    """A fenced block; where its first line is a comment with a file's name, it is that file."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def file(self) -> str | None:
        match = _TITLE.match(self.text.partition("\n")[0])
        return match[1] if match else None

    @property
    def content(self) -> str:
        """Of the file, without the comment that names it: a CSV file has none."""
        return self.text.partition("\n")[2] if self.file else self.text

    @property
    def commands(self) -> list[str]:
        """One for each line, without its comment; a line may go on behind a backslash."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line.removeprefix("$ ") for line in lines if line and not line.startswith("#")]

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def snippets(page: Path) -> list[Snippet]:
    """Fenced blocks with a language, from top to bottom."""
    tokens = MarkdownIt().parse(page.read_text(encoding="utf-8"))
    return [
        Snippet(page, (token.map or [0])[0] + 1, token.info.split()[0], token.content)
        for token in tokens
        if token.type == "fence" and token.info
    ]


def arguments(command: str) -> list[str] | None:
    """Of a plain call of ours; None for anything that only a shell understands."""
    if not command.startswith("paretoken ") or re.search(r"[|$<>&;`]", command):
        return None
    return shlex.split(command, comments=True)[1:]


def links(page: Path) -> Iterator[str]:
    """Places in this repository that a page links to."""
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            yield target
