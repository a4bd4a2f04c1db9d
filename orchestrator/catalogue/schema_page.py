"""Every key of a sweep file as a page, from its JSON schema: ``make docs`` writes it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sweeps.json_schema import json_schema

_HEAD = """# Keys of a sweep file

From the schema that `paretoken schema` prints, for people. `paretoken plan FILE` says what a file
means, and where it is wrong.
"""
_LONGEST = 6
"""Choices that are written out."""


def page(schema: Mapping[str, Any]) -> str:
    """Markdown: a table for the file, then one for every part that is described by itself."""
    parts = {"The file": schema} | dict(_parts(schema))
    return "\n".join([_HEAD, *(line for name in parts for line in _part(name, parts[name]))])


def _parts(schema: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Objects inside that have a name and keys of their own, outer ones first."""
    if isinstance(schema, Mapping):
        for content in schema.values():
            if isinstance(content, Mapping) and "properties" in content and "title" in content:
                yield content["title"], content
            yield from _parts(content)
    elif isinstance(schema, list):
        for each in schema:
            yield from _parts({"": each})


def _part(name: str, part: Mapping[str, Any]) -> Iterator[str]:
    yield f"\n## {name}\n"
    if about := part.get("description"):
        yield f"{_flat(about)}\n"
    yield "| key | is | default | meaning |"
    yield "| --- | --- | --- | --- |"
    required = part.get("required", ())
    for key, content in part["properties"].items():
        default = "required" if key in required else _default(content)
        meaning = _flat(content.get("description", ""))
        yield f"| `{key}` | {_kind(content)} | {default} | {meaning} |"


def _kind(content: Mapping[str, Any]) -> str:
    """What may stand there, in words; unions are lists of them."""
    if "$ref" in content:
        return str(content["$ref"]).rpartition("/")[2]
    if "const" in content:
        return f"`{content['const']}`"
    if "enum" in content:
        shown = [f"`{value}`" for value in content["enum"][:_LONGEST]]
        return " or ".join(shown) + " ..." * (len(content["enum"]) > _LONGEST)
    for name in ("anyOf", "oneOf"):
        if name in content:
            kinds = dict.fromkeys(_kind(each) for each in content[name] if each != {"type": "null"})
            return " or ".join([*kinds][:_LONGEST])
    if content.get("type") == "array":
        return f"list of {_kind(content.get('items', {}))}"
    return str(content.get("title") or content.get("type", "anything"))


def _default(content: Mapping[str, Any]) -> str:
    default = content.get("default")
    return "" if default is None else f"`{default}`"


def _flat(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page(json_schema()), encoding="utf-8")
