"""YAML text to plain JSON values, with the line and column of every key and value.

The values are those of ``yaml.safe_load`` with three differences: ``1e-3`` is a number, as in
YAML 1.2 (YAML 1.1 reads text); keys that occur twice are refused instead of the last one
winning; and what has no place in a sweep file (dates, binary, sets, NaN, tags) is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from sweeps.mistakes import Loc, show

DEEPEST: Final = 32  # levels of nesting
MOST_VALUES: Final = 50_000  # keys and values after aliases are followed
LARGEST_INT: Final = 2**63
UNREADABLE: Final = "\ufffd"  # stands for a refused value until the error is raised
TAG: Final = "tag:yaml.org,2002:"
MERGE: Final = f"{TAG}merge"
PLAIN_SCALARS: Final = {f"{TAG}{name}" for name in ("null", "bool", "int", "float", "str", "value")}


class Place(NamedTuple):
    """Position in the text, counted from 1."""

    line: int
    column: int

    @classmethod
    def of(cls, mark: Any) -> Place:
        """From a mark of PyYAML, which counts from 0."""
        return cls(mark.line + 1, mark.column + 1)


class Complaint(NamedTuple):
    """Something that YAML allows and a sweep file does not, or a syntax error."""

    message: str
    place: Place
    loc: Loc = ()
    value: str | None = None


@dataclass
class Tree:
    """A YAML document as plain values."""

    data: Any = None
    keys: dict[Loc, Place] = field(default_factory=dict)
    """Where the key of a mapping's entry stands."""
    values: dict[Loc, Place] = field(default_factory=dict)
    complaints: list[Complaint] = field(default_factory=list)
    unreadable: set[Loc] = field(default_factory=set)
    """Where a value was refused, so that whatever else is said about it is no second mistake."""

    def within(self, loc: Loc) -> Loc:
        """The steps of ``loc`` that the text has."""
        known: Loc = ()
        for step in loc:
            if (*known, step) in self.values:
                known = (*known, step)
        return known

    def place(self, loc: Loc, at_key: bool = False) -> Place:
        """Place of the value at ``loc`` (or of its key), or of the nearest value around it.

        Steps that the text does not have are passed over.
        """
        known = self.within(loc)
        if at_key and known in self.keys:
            return self.keys[known]
        return self.values.get(known, Place(1, 1))


def read(text: str) -> Tree:
    """The document in ``text``. Never raises: syntax errors are complaints, too."""
    tree = Tree()
    try:
        node = _Loader(text).get_single_node()
        if node is None:
            tree.complaints.append(Complaint("the file is empty", Place(1, 1)))
        else:
            tree.data = _Reader(tree).value(node, ())
    except yaml.MarkedYAMLError as error:
        tree.complaints.append(_syntax(error))
    except yaml.reader.ReaderError as error:
        tree.complaints.append(_unprintable(error, text))
    return tree


class _Loader(yaml.SafeLoader):
    """Composes nodes, bounded in depth and number because PyYAML recurses."""

    def __init__(self, text: str) -> None:
        self.depth = 0
        self.count = 0
        super().__init__(text)

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        self.depth += 1
        self.count += 1
        if self.depth > DEEPEST:
            raise yaml.MarkedYAMLError(
                problem=f"nested more than {DEEPEST} levels deep",
                problem_mark=self._mark(),
            )
        if self.count > MOST_VALUES:
            raise _too_many(self._mark())
        node: Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def _mark(self) -> Any:
        return self.peek_event().start_mark  # type: ignore[no-untyped-call]


_Loader.add_implicit_resolver(
    f"{TAG}float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+\Z"), list("-+0123456789")
)


class _Reader:
    """Turns nodes into values and notes where they stand."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.count = 0
        self.open: list[Node] = []
        self.scalars = yaml.constructor.SafeConstructor()

    def value(self, node: Node, loc: Loc) -> Any:
        self.count += 1
        if self.count > MOST_VALUES or len(loc) > DEEPEST:
            raise _too_many(node.start_mark)
        self.tree.values[loc] = Place.of(node.start_mark)
        if any(node is outer for outer in self.open):
            return self.refuse("an alias that contains itself", node, loc)
        self.open.append(node)
        try:
            return self.content(node, loc)
        finally:
            self.open.pop()

    def content(self, node: Node, loc: Loc) -> Any:
        if isinstance(node, MappingNode) and node.tag == f"{TAG}map":
            return self.mapping(node, loc)
        if isinstance(node, SequenceNode) and node.tag == f"{TAG}seq":
            return [self.value(item, (*loc, index)) for index, item in enumerate(node.value)]
        if isinstance(node, ScalarNode) and node.tag in PLAIN_SCALARS:
            return self.scalar(node, loc)
        if node.tag == f"{TAG}timestamp":
            return self.refuse(f"{node.value} is a date to YAML; quotes make it text", node, loc)
        return self.refuse(f"the tag {node.tag.replace(TAG, '!!')!r} is not used here", node, loc)

    def scalar(self, node: ScalarNode, loc: Loc) -> Any:
        if node.tag in (f"{TAG}str", f"{TAG}value"):
            if any("\ud800" <= char <= "\udfff" for char in node.value):
                return self.refuse(f"{show(node.value)} is not valid Unicode", node, loc)
            return node.value
        try:
            value = self.scalars.construct_object(node)
        except (ValueError, KeyError):  # for example 0b_, or !!int on text
            name = node.tag.removeprefix(TAG)
            return self.refuse(f"{show(node.value)} is not a valid {name}", node, loc)
        if isinstance(value, float) and not math.isfinite(value):
            return self.refuse(f"expected a finite number, got {node.value}", node, loc)
        if isinstance(value, int) and abs(value) >= LARGEST_INT:
            return self.refuse(f"{show(node.value)} is too large a number", node, loc)
        return value

    def mapping(self, node: MappingNode, loc: Loc) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key, (key_node, value_node) in self.entries(node, loc).items():
            self.tree.keys[*loc, key] = Place.of(key_node.start_mark)
            data[key] = self.value(value_node, (*loc, key))
        return data

    def entries(self, node: MappingNode, loc: Loc) -> dict[str, tuple[Node, Node]]:
        """Key and value nodes; a mapping's own keys win over merged ones (``<<``)."""
        own: dict[str, tuple[Node, Node]] = {}
        merged: dict[str, tuple[Node, Node]] = {}
        for key_node, value_node in node.value:
            if key_node.tag == MERGE:
                for source in self.merge_sources(value_node, loc):
                    merged = {**self.entries(source, loc), **merged}
                continue
            key = self.key(key_node, loc)
            if key in own:
                first = Place.of(own[key][0].start_mark).line
                self.complain(
                    f"the key {key!r} stands here twice, first in line {first}",
                    key_node,
                    (*loc, key),
                )
            own.setdefault(key, (key_node, value_node))
        return merged | own

    def key(self, node: Node, loc: Loc) -> str:
        if isinstance(node, ScalarNode) and node.tag in (f"{TAG}str", f"{TAG}value"):
            return str(self.scalar(node, loc))
        text = node.value if isinstance(node, ScalarNode) else "a list or mapping"
        self.refuse(f"keys are text; {text} needs quotes", node, (*loc, text))
        return text

    def merge_sources(self, node: Node, loc: Loc) -> Iterator[MappingNode]:
        for source in node.value if isinstance(node, SequenceNode) else [node]:
            self.count += 1
            if self.count > MOST_VALUES:
                raise _too_many(source.start_mark)
            if not isinstance(source, MappingNode) or any(source is o for o in self.open):
                self.refuse("<< merges mappings from elsewhere, nothing else", source, loc)
                continue
            self.open.append(source)
            yield source
            self.open.pop()

    def refuse(self, message: str, node: Node, loc: Loc) -> str:
        self.tree.unreadable.add(loc)
        self.complain(message, node, loc)
        return UNREADABLE

    def complain(self, message: str, node: Node, loc: Loc) -> None:
        value = node.value if isinstance(node, ScalarNode) else None
        self.tree.complaints.append(Complaint(message, Place.of(node.start_mark), loc, value))


def _too_many(mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(
        problem=f"more than {MOST_VALUES:,} values (aliases count each time)", problem_mark=mark
    )


def _syntax(error: yaml.MarkedYAMLError) -> Complaint:
    mark = error.problem_mark or error.context_mark
    context = f" ({error.context})" if error.context else ""
    return Complaint(f"not valid YAML: {error.problem}{context}", Place.of(mark))


def _unprintable(error: yaml.reader.ReaderError, text: str) -> Complaint:
    before = text[: error.position]
    place = Place(before.count("\n") + 1, error.position - before.rfind("\n"))
    return Complaint(f"the character {text[error.position]!r} is not allowed in YAML", place)
