"""Real text that is always at hand: the source of the running Python's standard library, as bytes.

Files are split by a hash of their names, so that a file is in the same split for every version of
Python. Left out: tests, bundled programs (an editor, demonstrations), generated tables, packages
that newer versions no longer have, and what is generated when Python is built. What the split holds
differs a little between versions; :func:`digests` says what it is.

Tokens are bytes; token 256 starts a sequence.

Shapes: B examples, T window length.
"""

from __future__ import annotations

import hashlib
import os
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from sweeps.data.contexts import DATA_SEED, Ints, split_index
from sweeps.data.streams import Split

START: Final = 256
VOCABULARY: Final = START + 1
TENTHS: Final = {0: "test", 1: "validation"}  # of the hashes; the rest is for training
LEFT_OUT: Final = frozenset(
    [
        "site-packages",
        "dist-packages",
        "test",
        "tests",
        "encodings",
        "pydoc_data",
        "idlelib",
        "lib2to3",
        "distutils",
        "tkinter",
        "turtledemo",
        "ensurepip",
        "__phello__",
        "__pycache__",
    ]
)
GENERATED: Final = ("_sysconfigdata", "config-")  # starts of names
SMALLEST: Final = 1000  # bytes; smaller files are little but imports
FRONT: Final = 2**16  # bytes of a file that a stream uses: no file makes up most of it
STREAM: Final = 2  # keeps the generators apart from those of the other data


def folder() -> Path:
    """Where the standard library lies."""
    return Path(sysconfig.get_path("stdlib"))


@cache
def files(split: Split) -> tuple[str, ...]:
    """Names of a split's files, relative to :func:`folder`, sorted; with forward slashes.

    Raises ValueError where this Python comes without its library's source.
    """
    split_index(split)
    root = folder()
    found = tuple(sorted(name for name in _names(root) if _split_of(name) == split))
    if not found:
        raise ValueError(f"this Python has no source of its standard library in {root}")
    return found


def _names(root: Path) -> Iterator[str]:
    for parent, folders, names in os.walk(root):
        folders[:] = [name for name in folders if _is_wanted(name)]
        for name in names:
            path = Path(parent, name)
            if name.endswith(".py") and _is_wanted(name) and path.stat().st_size >= SMALLEST:
                yield path.relative_to(root).as_posix()


def _is_wanted(name: str) -> bool:
    return name not in LEFT_OUT and not name.startswith(GENERATED)


def _split_of(name: str) -> str:
    tenth = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % 10
    return TENTHS.get(tenth, "train")


@cache
def texts(split: Split) -> tuple[Ints, ...]:
    """The files of a split, each as its bytes."""
    root = folder()
    return tuple(
        np.frombuffer((root / name).read_bytes(), np.uint8).astype(np.int64)
        for name in files(split)
    )


@cache
def digests(split: Split) -> tuple[str, ...]:
    """Name and SHA-256 of every file of a split."""
    root = folder()
    return tuple(
        f"{name} {hashlib.sha256((root / name).read_bytes()).hexdigest()}" for name in files(split)
    )


def sample(rng: np.random.Generator, split: Split, count: int, length: int) -> Ints:
    """Windows [B, T] from anywhere in a split's files, each behind a start token."""
    whole = [text for text in texts(split) if len(text) >= length - 1]
    ends = np.cumsum([len(text) - length + 2 for text in whole])
    drawn = rng.integers(0, ends[-1], count)
    chosen = np.searchsorted(ends, drawn, side="right")
    starts = [int(d - (ends[c - 1] if c else 0)) for d, c in zip(drawn, chosen, strict=True)]
    return _behind_start(
        [whole[c][s : s + length - 1] for c, s in zip(chosen, starts, strict=True)]
    )


def stream(split: Split, count: int, length: int) -> Ints:
    """The first `count` windows [B, T] of a split's fixed stream; no two overlap.

    Raises ValueError where the split has fewer.
    """
    step = length - 1
    places = _places(split, count, step)
    whole = texts(split)
    return _behind_start([whole[file][start : start + step] for file, start in places])


def sources(split: Split, count: int, length: int) -> list[int]:
    """The file of every window of :func:`stream`, as its place in :func:`files`."""
    return [file for file, _ in _places(split, count, length - 1)]


def _places(split: Split, count: int, step: int) -> list[tuple[int, int]]:
    """File and first byte of the stream's windows."""
    windows = [
        (file, start)
        for file, text in enumerate(texts(split))
        for start in range(0, min(len(text), FRONT) - step + 1, step)
    ]
    if count > len(windows):
        raise ValueError(
            f"the standard library's {split} files hold {len(windows)} windows of {step} bytes; "
            f"{count} were asked for"
        )
    order = np.random.default_rng((DATA_SEED, STREAM, step + 1)).permutation(len(windows))
    return [windows[index] for index in order[:count]]


def _behind_start(windows: list[Ints]) -> Ints:
    start = np.full((len(windows), 1), START)
    return np.concatenate([start, np.stack(windows)], axis=1)
