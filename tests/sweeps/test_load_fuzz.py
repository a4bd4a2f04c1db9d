"""Whatever happens to a sweep file, it either loads or is refused with located sentences."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from sweeps.load import parse_sweep
from sweeps.mistakes import SweepFileError

QUICKSTART = Path(__file__, "../../../sweeps/quickstart.yaml").resolve().read_text("utf-8")
TOKENS = re.compile(r"[\w./*-]+|\s+|.")
FOREIGN = [
    *("", "0", "-1", "1e400", ".nan", "~", "true", "[]", "{}", "&a", "*a", "<<", "!!set", "!x"),
    *("- ", ": ", "\t", "\n", '"', "'", "|", ">", "%", "---\n", "...", "2024-01-01", "0b_", "?"),
    *("\ufeff", "\x07", "\U0001f600", "x" * 300, "{a: {b: {c: 1}}}", "[1, [2, [3]]]", "1:30"),
]


def mutated(rng: random.Random) -> str:
    tokens = TOKENS.findall(QUICKSTART)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(tokens))
        kind = rng.choice(["delete", "duplicate", "replace", "swap", "cut"])
        if kind == "delete":
            del tokens[place]
        elif kind == "duplicate":
            tokens.insert(place, tokens[place])
        elif kind == "replace":
            tokens[place] = rng.choice(FOREIGN)
        elif kind == "swap":
            other = rng.randrange(len(tokens))
            tokens[place], tokens[other] = tokens[other], tokens[place]
        else:
            tokens = tokens[: max(place, 1)]
    return "".join(tokens)


def refusal(text: str) -> SweepFileError | None:
    try:
        parse_sweep(text, "f.yaml")
    except SweepFileError as error:
        return error
    return None


@pytest.mark.parametrize("block", range(10))
def test_a_mutated_file_loads_or_is_refused_in_words(block: int) -> None:
    texts = [mutated(random.Random(1000 * block + case)) for case in range(40)]
    refused = {text: error for text in texts if (error := refusal(text))}
    assert refused
    for text, error in refused.items():
        assert error.errors, text
        for mistake in error.errors:
            assert 1 <= (mistake.line or 0) <= text.count("\n") + 2, text
            assert (mistake.column or 0) >= 1, text
            assert "validation error" not in mistake.message, text
