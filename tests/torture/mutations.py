"""Sweep files that went wrong: in their bytes, their words, their structure, or with intent."""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

SHIPPED = sorted(Path(__file__, "../../../sweeps").resolve().glob("*.yaml"))
TOKENS = re.compile(r"[\w./*-]+|\s+|.")
WORDS = [
    *("", "0", "-1", "1e400", ".nan", ".inf", "~", "true", "[]", "{}", "&a", "*a", "<<", "<<: *a"),
    *("- ", ": ", "\t", "\n", '"', "'", "|", ">", "%", "---\n", "...", "2024-01-01", "0b_", "?"),
    *("\ufeff", "\x00", "\x07", "\x85", "\u2028", "\U0001f600", "x" * 300, "9" * 5000, "1:30"),
    *("!!python/object/apply:os.system", "!!binary", "!!set", "!x", "{a: {b: {c: 1}}}", "0x1F"),
]
VALUES: list[Any] = [
    *(None, True, 0, -1, 2**31, 2**63, 10**400, 0.0, -0.0, 1e-320, 1e308, float("nan")),
    *(float("inf"), "", "\x07", "é", "x" * 2000, "../../../etc/passwd", "/", "tome", "vision/*"),
    *("4x", "0 tokens", "1e99 GiB", [], [[]], {}, {"": ""}, {"hf": "../.."}, {"hf": "~nobody/x"}),
    *({"hf": "a\nb"}, {"config": "../x.json", "weights": "random"}, {"from": 1, "to": 0.1}),
    *({"stack": []}, {"stack": [["tome"]]}, {"id": "digits", "num_examples": 10**9}, ["a"] * 300),
]


def mutated(seed: int) -> bytes:
    """One of endlessly many files; equal seeds give equal files."""
    rng = random.Random(seed)
    text = rng.choice(SHIPPED).read_text("utf-8")
    return rng.choice(KINDS)(rng, text)


def _in_bytes(rng: random.Random, text: str) -> bytes:
    content = bytearray(text.encode())
    for _ in range(rng.randint(1, 6)):
        place = rng.randrange(len(content))
        kind = rng.randrange(4)
        if kind == 0:
            content[place] = rng.randrange(256)
        elif kind == 1:
            content[place:place] = rng.randbytes(rng.randint(1, 8))
        elif kind == 2:
            del content[place : place + rng.randint(1, 20)]
        else:
            content[place] ^= 1 << rng.randrange(8)
    return bytes(content)


def _in_words(rng: random.Random, text: str) -> bytes:
    tokens = TOKENS.findall(text)
    for _ in range(rng.randint(1, 4)):
        place, other = rng.randrange(len(tokens)), rng.randrange(len(tokens))
        kind = rng.randrange(5)
        if kind == 0:
            del tokens[place]
        elif kind == 1:
            tokens.insert(place, tokens[other])
        elif kind == 2:
            tokens[place] = rng.choice(WORDS)
        elif kind == 3:
            tokens[place], tokens[other] = tokens[other], tokens[place]
        else:
            tokens.insert(place, rng.choice(WORDS))
    return "".join(tokens).encode()


def _in_structure(rng: random.Random, text: str) -> bytes:
    data = yaml.safe_load(text)
    for _ in range(rng.randint(1, 3)):
        places = list(_places(data))
        holder, key = rng.choice(places)
        kind = rng.randrange(4)
        if kind == 0:
            del holder[key]
        elif kind == 1:
            holder[key] = copy.deepcopy(rng.choice(VALUES))
        elif kind == 2:
            other, other_key = rng.choice(places)
            holder[key] = copy.deepcopy(other[other_key])
        elif isinstance(holder, dict):
            holder[f"{key}{rng.choice(['', ' ', 'x', '_'])}2"] = copy.deepcopy(holder[key])
        else:
            holder.insert(key, copy.deepcopy(rng.choice(VALUES)))
        if not data:
            break
    written = yaml.safe_dump(data, allow_unicode=rng.random() < 0.5, sort_keys=False)
    return str(written).encode()


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Every entry of a tree of mappings and lists: what holds it, and its key there."""
    entries = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in entries:
        yield data, key
        if isinstance(value, dict | list):
            yield from _places(value)


def _with_intent(rng: random.Random, text: str) -> bytes:
    """Something known to break readers of YAML, before, after or instead of a sweep."""
    attack = rng.choice(ATTACKS)
    others = [attack, attack + text.encode(), text.encode() + b"\n" + attack]
    others.append(text.encode().replace(b"keep:", attack + b"\nkeep:", 1))
    return rng.choice(others)


def _laughs(levels: int) -> bytes:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines).encode()


ATTACKS = [
    *(_laughs(3), _laughs(9), b"[" * 40, b"[" * 5000, b"{a: " * 5000, b"- " * 3000, b"? " * 3000),
    *(b"a: &a [*a]", b"&a {<<: *a}", b"x: {<<: [{a: 1}, {a: 2}], a: 3}", b"<<: 3", b"*nowhere"),
    *(b"name: x\nname: y", b"keep: [1]\nkeep: [1]", b"%YAML 9.9\n---", b"--- a\n--- b\n"),
    *(
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        "name: x".encode("utf-16"),
        b"\x00",
        b"\r\n",
        b"\r",
        b"\x1b[2J",
    ),
    *(b"seeds: [" + b"9" * 5000 + b"]", b"seeds: [0b_]", b"seeds: [0x]", b"seeds: [1_0]"),
    *(b"!!python/object/apply:os.system ['true']", b"!!python/name:os.system", b"!<tag:x> {}"),
    *(b"name: '" + b"x" * 900_000 + b"'", b"#" * 1_048_000, b"x" * 10_000_000, b"a: 1\n" * 60_000),
    *(b"keep: {from: 1e-300, to: 1, steps: 1000}", b"seeds: [" + b"1, " * 2000 + b"1]"),
    *(b"name: ../../x", b"name: /etc/passwd", b"name: .", b"name: 'a\\0b'", b"name: |\n  x\n"),
]
KINDS: list[Callable[[random.Random, str], bytes]] = [
    _in_bytes,
    _in_words,
    _in_words,
    _in_structure,
    _in_structure,
    _with_intent,
]
