"""How much to keep: ratios, ``"4x"``, ``"64 tokens"``, ``"2 MiB"`` and ranges of ratios."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    Strict,
    ValidationError,
)

from sweeps.mistakes import Part, expected, refuse, show, unknown_name, wrong
from sweeps.schema_parts import AsWritten

BYTES: Final = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
FORMS: Final = 'a ratio above 0 up to 1, "4x", "64 tokens", "2 MiB" or a range {from, to, steps}'
DIGITS: Final = 4
"""Significant digits of the ratios of a range: the same number on every machine."""
_AMOUNT = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,15})?(?:e[-+]?[0-9]{1,2})?)\s*([A-Za-z]*)\s*\Z")


class Keep(BaseModel):
    """One budget: a fraction kept, a number of tokens, or bytes of keys and values per sequence."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    """What the user wrote."""
    amount: float
    unit: Literal["ratio", "tokens", "bytes"] = "ratio"

    @property
    def written(self) -> float | str:
        """The budget as a sweep file writes it."""
        return self.amount if self.label == repr(self.amount) else self.label


class KeepRange(Part):
    """Ratios from one end to the other, both included."""

    start: Annotated[float, Strict()] = Field(
        alias="from", ge=1e-300, le=1, description="First ratio kept, above 0, up to 1."
    )
    to: Annotated[float, Strict()] = Field(gt=0, le=1, description="Last ratio kept.")
    steps: Annotated[int, Strict()] = Field(ge=2, le=1000, description="How many, ends included.")
    spacing: Literal["linear", "geometric"] = Field(
        default="geometric", description="Equal differences, or equal factors."
    )

    def expand(self) -> tuple[Keep, ...]:
        """The ratios, rounded to four significant digits but for the ends."""
        last = self.steps - 1
        inner = (float(f"{self._at(step / last):.{DIGITS}g}") for step in range(1, last))
        return tuple(ratio(value) for value in (self.start, *inner, self.to))

    def _at(self, share: float) -> float:
        if self.spacing == "geometric":
            return float(self.start * (self.to / self.start) ** share)
        return self.start + (self.to - self.start) * share


def ratio(value: float) -> Keep:
    """A fraction kept. Raises ValueError unless 0 < value <= 1."""
    if not 0 < value <= 1:
        hint = f'; compression by {value:g} is written "{value:g}x"' if value > 1 else ""
        raise ValueError(f"a keep ratio is above 0 and at most 1, got {value:g}{hint}")
    return Keep(label=repr(value), amount=value)


def parse(value: Any) -> Keep | KeepRange:
    """A budget as a sweep file writes it. Raises ValueError or ValidationError."""
    if isinstance(value, Keep | KeepRange):
        return value
    if isinstance(value, dict):
        return KeepRange.model_validate(value)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise refuse(wrong(expected(FORMS, value), value=value))
    try:
        return _from_text(value) if isinstance(value, str) else ratio(float(value))
    except ValidationError:
        raise
    except ValueError as error:
        raise refuse(wrong(str(error), value=value)) from None


def _from_text(text: str) -> Keep:
    match = _AMOUNT.match(text)
    if not match:
        raise ValueError(expected(FORMS, text))
    amount, unit = float(match[1]), match[2]
    if not unit:
        return ratio(amount)
    if unit in ("x", "X"):
        return _factor(text, amount)
    if unit in ("token", "tokens"):
        if amount < 1 or amount != int(amount):
            raise ValueError(f"a number of tokens is whole and at least 1, got {show(text)}")
        return Keep(label=text.strip(), amount=amount, unit="tokens")
    if unit not in BYTES:
        raise refuse(unknown_name("unit", unit, ("x", "tokens", *BYTES)))
    if amount * BYTES[unit] < 1:
        raise ValueError(f"expected at least one byte, got {show(text)}")
    return Keep(label=text.strip(), amount=amount * BYTES[unit], unit="bytes")


def _factor(text: str, factor: float) -> Keep:
    if factor < 1:
        raise ValueError(f"compression by a factor is at least 1x, got {show(text)}")
    return Keep(label=text.strip(), amount=1 / factor)


def _write(item: Keep | KeepRange) -> Any:
    if isinstance(item, Keep):
        return item.written
    return item.model_dump(by_alias=True)


def _schema() -> dict[str, Any]:
    units = "|".join(("[xX]", "tokens?", *BYTES))
    return {
        "description": "How much to keep.",
        "anyOf": [
            {"type": "number", "exclusiveMinimum": 0, "maximum": 1, "description": "Ratio kept."},
            {
                "type": "string",
                "pattern": rf"^\s*[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?\s*({units})?\s*$",
                "description": 'A factor "4x", "64 tokens", or "2 MiB" of keys and values.',
                "examples": ["4x", "64 tokens", "2 MiB"],
            },
            KeepRange.model_json_schema(by_alias=True),
        ],
    }


KeepItem = Annotated[
    Keep | KeepRange, PlainValidator(parse), PlainSerializer(_write), AsWritten(_schema)
]
