"""Methods by name and by pattern: ``tome``, ``vision/tome``, ``vision/*``, ``*knn*``."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Any

from pydantic import PlainValidator

from methods import registry
from methods.kvpress import _environment, _press
from methods.places import PLACES
from methods.registry import MethodEntry, families
from sweeps.mistakes import Loc, expected, refuse, unknown_name, wrong
from sweeps.schema_parts import AsWritten, first_sentence, named


def matching(pattern: str) -> list[MethodEntry]:
    """Methods meant by an id (``tome``, ``vision/tome``) or a pattern (``vision/*``, ``*knn*``).

    A place (``vision``, ``kv``) stands for every method that attaches there, controls included; a
    pattern means no method that needs parameters. Only what begins with ``kvpress/`` means presses.
    """
    found = _candidates(pattern).values()
    named = [entry for entry in found if any(fnmatchcase(n, pattern) for n in names_of(entry))]
    return [entry for entry in named if entry.stands_alone] if is_pattern(pattern) else named


def _candidates(name: str) -> dict[str, MethodEntry]:
    return registry.presses() if _environment.is_press(name) else registry.entries()


def names_of(entry: MethodEntry) -> tuple[str, ...]:
    """All names of a method: its id, alone and after each place and its folder."""
    if _environment.is_press(entry.id):
        return (entry.id,)
    groups = dict.fromkeys((*entry.places, entry.family))
    return (entry.id, *(f"{group}/{entry.id}" for group in groups))


def is_pattern(name: str) -> bool:
    """Whether a name may stand for several methods."""
    return any(sign in name for sign in "*?[")


def parse_pattern(value: Any) -> str:
    """A method's name or a pattern that matches at least one. Raises ValidationError."""
    if not isinstance(value, str):
        raise refuse(wrong(expected("a method or a pattern such as vision/*", value), value=value))
    require_method(value, ())
    return value


def require_method(name: str, loc: Loc) -> None:
    """Raises ValidationError at ``loc`` unless the name stands for at least one method."""
    if _environment.is_press(name):
        _require_press(name, loc)
        return
    if matching(name):
        return
    patterns = [f"{family}/*" for family in families() if matching(f"{family}/*")]
    ids = list(registry.entries())
    if is_pattern(name):
        raise refuse(unknown_name("method pattern", name, [*patterns, *ids], loc))
    last = name.rpartition("/")[2]
    known = registry.entries().get(last)
    nearest = f"{known.family}/{last}" if known else None
    raise refuse(unknown_name("method", name, [*ids, *patterns], loc, nearest=nearest))


def _require_press(name: str, loc: Loc) -> None:
    """The same for a press, and that there is an environment in which it can run."""
    ids = list(registry.presses())
    if not matching(name):
        kind = "method pattern" if is_pattern(name) else "method"
        raise refuse(unknown_name(kind, name, ids, loc, otherwise=_press.why_unknown(name)))
    if _environment.interpreter() is None:
        words = name.rpartition("/")[2].removesuffix("Press").lower()
        own = next((id_ for id_ in registry.entries() if id_.replace("-", "") == words), None)
        hint = f"; this project's own {own!r} needs none" if own else ""
        sentence = f"no environment with kvpress for {name!r}: {_environment.how_to_build()}{hint}"
        raise refuse(wrong(sentence, loc, name, nearest=own))


def method_descriptions() -> dict[str, str]:
    """Every name of every method, with a line that says what it is."""
    return _described([*registry.entries().values(), *registry.presses().values()])


def _described(found: list[MethodEntry]) -> dict[str, str]:
    texts = {entry.id: first_sentence(entry.method.__doc__) for entry in found}
    return {name: texts[entry.id] for entry in found for name in names_of(entry)}


def pattern_schema() -> dict[str, Any]:
    """JSON Schema of a name or pattern; of methods that need no parameters."""
    found = [*registry.entries().values(), *registry.presses().values()]
    alone = _described([entry for entry in found if entry.stands_alone])
    groups = {f"{family}/*": f"Every method in {family}/." for family in families()}
    groups |= {f"{place}/*": f"Every method for {place}, controls included." for place in PLACES}
    any_pattern = {"type": "string", "pattern": r"[*?\[]", "description": "A pattern of names."}
    return {"anyOf": [named(alone | groups), any_pattern]}


Pattern = Annotated[str, PlainValidator(parse_pattern), AsWritten(pattern_schema)]
