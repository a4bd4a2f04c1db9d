"""What travels to a cluster: our packages, and a sweep with the model folders that it names.

Both are Ray packages: uploaded once for each content, unpacked once on each node. Libraries do not
travel; the cluster has them installed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from store.url import STORE_FILE
from sweeps.choices import HuggingFace, RandomModel
from sweeps.models import PICKLED
from sweeps.spec import SweepSpec

PACKAGES = ("dashboards", "methods", "orchestrator", "store", "sweeps")
LARGEST_CARGO = 400 * 2**20
"""Bytes of a sweep and its models; Ray keeps packages in the head's memory and refuses 500 MiB."""


def modules() -> list[str]:
    """Folders that make our packages importable on any node, their version included."""
    folders = [str(Path(str(find_spec(name).origin)).parent) for name in PACKAGES]  # type: ignore[union-attr]
    return [*folders, *_version_folder()]


def _version_folder() -> Iterator[str]:
    """The installation's ``dist-info``: results say which version measured them."""
    for file in metadata.files("paretoken") or []:
        if file.name == "METADATA" and file.parent.suffix == ".dist-info":
            yield str(Path(str(file.locate())).parent)


@dataclass(frozen=True)
class Cargo:
    """A folder to be a job's working directory, made of links."""

    folder: Path
    sweep: str
    """The sweep file in it."""
    elsewhere: tuple[str, ...]
    """Absolute model folders of the sweep, which every node must have."""

    excludes = (*PICKLED, ".git", "__pycache__")
    """Never sent: pickles are not opened anyway."""


@contextmanager
def cargo(spec: SweepSpec, store_url: str | None) -> Iterator[Cargo]:
    """Lay out a sweep so that its relative paths hold on the cluster.

    ``store_url``, which may hold a password, goes as a file that only the job's user can read: Ray
    writes environment variables to its logs and shows them to everyone who may list jobs.

    Raises ValueError where models are too large to travel.
    """
    file = Path(spec.source.file).absolute()
    travelling, elsewhere = _models(spec)
    root = Path(os.path.commonpath([file.parent, *travelling]))
    _require_small(travelling)
    with TemporaryDirectory(prefix="paretoken-") as name:
        folder = Path(name)
        for path in (file, *travelling):
            _link(folder / path.relative_to(root), path)
        if store_url is not None:
            _write_secret(folder / STORE_FILE, store_url)
        yield Cargo(folder, str(file.relative_to(root)), tuple(elsewhere))


def _models(spec: SweepSpec) -> tuple[list[Path], list[str]]:
    """Existing folders and files that the sweep names relative to itself, and absolute ones."""
    travelling, elsewhere = [], []
    for workload in spec.workloads.values():
        name = _path(workload.backbone)
        path = spec.source.folder / name if name else None
        if name.startswith(("/", "~")):
            elsewhere.append(name)
        elif path is not None and path.exists():
            travelling.append(Path(os.path.normpath(path)))
    return list(dict.fromkeys(travelling)), list(dict.fromkeys(elsewhere))


def _path(backbone: object) -> str:
    if isinstance(backbone, HuggingFace):
        return backbone.hf
    return backbone.config if isinstance(backbone, RandomModel) else ""


def _require_small(paths: list[Path]) -> None:
    sizes = {path: sum(_sizes(path)) for path in paths}
    if sum(sizes.values()) > LARGEST_CARGO:
        largest = max(sizes, key=lambda path: sizes[path])
        raise ValueError(
            f"models of {sum(sizes.values()) / 2**20:.0f} MiB cannot travel with a job (at most "
            f"{LARGEST_CARGO / 2**20:.0f} MiB): put {largest} on a disk that every node has and "
            "name it by its absolute path, or name a hub id"
        )


def _sizes(path: Path) -> Iterator[int]:
    for file in [path] if path.is_file() else path.rglob("*"):
        if file.is_file() and not any(file.match(pattern) for pattern in PICKLED):
            yield file.stat().st_size


def _link(link: Path, target: Path) -> None:
    """A symbolic link; of a folder's files one each, so that folders inside one another can be."""
    for file in [target] if target.is_file() else target.rglob("*"):
        if file.is_file():
            place = link / file.relative_to(target) if file != target else link
            place.parent.mkdir(parents=True, exist_ok=True)
            place.unlink(missing_ok=True)
            place.symlink_to(file.resolve())


def _write_secret(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text, encoding="utf-8")
