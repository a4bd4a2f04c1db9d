"""Presses of NVIDIA/kvpress as methods: ``kvpress/SnapKVPress``.

kvpress needs an older transformers than this project and patches attention for the whole process
that imports it, so that it never runs beside our own methods: its trials are measured by workers
whose interpreter is another one (``environment``). Here stands only what planning needs, read from
a table which ``make fidelity`` writes by attaching every press of the release to a small decoder.

``keep_ratio`` is 1 - ``compression_ratio``; presses spread it over layers and heads themselves.
"""

from __future__ import annotations

import importlib
import json
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, create_model

from methods.base import InfeasibleError, Method, Paper, Part
from methods.kvpress import _environment
from methods.places import Place
from methods.schedule import Schedule, Uniform

LIBRARY = Paper(
    title="Expected Attention: KV Cache Compression by Estimating Attention from Future Queries "
    "Distribution",
    arxiv="2510.00636",
    code="https://github.com/NVIDIA/kvpress",
)
_TABLE = Path(__file__).with_name("_presses.json")
_PLAIN: dict[str, type] = {"bool": bool, "int": int, "float": float, "str": str}


class Press(Method):
    """A press of kvpress."""

    places: ClassVar[tuple[Place, ...]] = ("kv",)
    environment: ClassVar[str | None] = _environment.NAME
    class_name: ClassVar[str]
    """Name of the class in kvpress."""
    source: ClassVar[str | None]
    """Address of its paper, where kvpress names one."""
    masks: ClassVar[bool]
    """Whether the press leaves the cache as long as it is and hides entries."""
    attention: ClassVar[Literal["sdpa", "eager"]]
    """Implementation that the press needs."""

    @classmethod
    def id(cls) -> str:
        """What a sweep file calls it."""
        return f"{cls.environment}/{cls.class_name}"

    @property
    def simulated(self) -> frozenset[str]:
        """Masked entries still take their memory."""
        return frozenset({"tokens", "kv", "kv_bytes"}) if self.masks else frozenset()

    def parts(self, schedule: Schedule, keep_ratio: float) -> list[Part]:
        """The press itself. Raises InfeasibleError for a schedule that it cannot follow."""
        if schedule != Uniform():
            raise InfeasibleError(
                f"{self.id()} spreads its budget by itself, so it runs with the schedule uniform "
                f"only, not {schedule.label}"
            )
        return [Part(self, schedule, keep_ratio)]

    def inner(self) -> dict[str, str]:
        """Ids of the presses that this one wraps, by parameter."""
        fields = type(self).model_fields
        return {
            name: f"{self.environment}/{getattr(self, name)}"
            for name, field in fields.items()
            if field.json_schema_extra == {"press": True}
        }

    def build(self, keep_ratio: float) -> Any:
        """The press, ready to be attached. Only where kvpress is installed."""
        kvpress: Any = importlib.import_module("kvpress")
        wrapped = {name: presses()[id_]().build(keep_ratio) for name, id_ in self.inner().items()}
        built = getattr(kvpress, self.class_name)(**self.model_dump() | wrapped)
        built.compression_ratio = 1 - keep_ratio
        return built


@cache
def table() -> dict[str, Any]:
    """What is known of the release: its number, its presses, and why others cannot be swept."""
    content: dict[str, Any] = json.loads(_TABLE.read_text(encoding="utf-8"))
    return content


@cache
def presses() -> dict[str, type[Press]]:
    """Every press that a sweep can name, by id."""
    found = [_press(name, known) for name, known in table()["presses"].items()]
    return {press.id(): press for press in found}


def why_unknown(press_id: str) -> str:
    """The rest of the sentence that a press is not known: the reason, where there is one."""
    reason = table()["others"].get(press_id.rpartition("/")[2])
    return f"; kvpress {table()['kvpress']} has it, but cannot be swept: {reason}" if reason else ""


def _press(name: str, known: dict[str, Any]) -> type[Press]:
    fields: dict[str, Any] = {key: _field(kind) for key, kind in known["params"].items()}
    press = create_model(
        name, __base__=Press, __module__=__name__, __doc__=known["about"], **fields
    )
    press.class_name, press.source = name, known["paper"]
    press.masks, press.attention = known["masks"], known["attention"]
    return press


def _field(kind: dict[str, Any]) -> tuple[Any, Any]:
    """Type and default of a constructor parameter."""
    if kind["type"] == "press":
        listed = table()["presses"].items()
        plain = [n for n, known in listed if known["scores"] and known["attention"] == "sdpa"]
        about = "Press that scores for it, with its defaults."
        return Literal[tuple(plain)], Field(
            description=about, examples=["SnapKVPress"], json_schema_extra={"press": True}
        )
    hint = Literal[tuple(kind["choices"])] if "choices" in kind else _PLAIN[kind["type"]]
    return hint, Field(default=kind["default"], description="See kvpress.")
