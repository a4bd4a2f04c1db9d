"""From a backbone in the sweep file to weights that a worker can open, with their fingerprint.

Reference backbones are folders of ``sweeps/reference`` with one set of weights for each seed. Any
other model is a Hugging Face directory or hub id. Only safetensors are opened: pickled checkpoints
run code when they are read. For costs the shape of a model is enough: its ``config.json``, with
weights that are drawn where they are needed.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final

from methods.naming import nearest
from sweeps import reference
from sweeps.trial import AnyWeights, RandomWeights, Weights

REFERENCE: Final = Path(reference.__file__).parent
CONFIGS: Final = Path(__file__).parent / "configs"
PICKLED: Final = ("*.bin", "*.pt", "*.pth", "*.ckpt")
HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*\Z")
HUB_TIMEOUT: Final = 10.0  # seconds
CHUNK: Final = 2**20  # bytes


class ModelError(ValueError):
    """A model that cannot be opened; one sentence that says why and what to do."""


class MissingSeedError(ValueError):
    """A reference backbone has no weights for this seed."""


@dataclass(frozen=True)
class ReferenceBackbone:
    """A backbone that ships with the project."""

    id: str
    path: Path
    seeds: tuple[int, ...]
    """Seeds whose weights are there."""

    @property
    def card(self) -> str:
        """The model card; empty if there is none."""
        page = self.path / "README.md"
        return page.read_text(encoding="utf-8") if page.is_file() else ""

    @property
    def summary(self) -> str:
        """First paragraph of the model card."""
        paragraphs = [part for part in self.card.split("\n\n") if not part.startswith("#")]
        return " ".join(paragraphs[0].split()) if paragraphs else ""


@dataclass(frozen=True)
class Model:
    """A model that is there: how to open it, and its ``config.json``."""

    weights: AnyWeights
    config: dict[str, Any]


def references() -> dict[str, ReferenceBackbone]:
    """Reference backbones by id, sorted; the folder is the registry."""
    folders = sorted(path.parent for path in REFERENCE.glob("*/recipe.py"))
    found = (ReferenceBackbone(f.name.replace("_", "-"), f, _seeds(f)) for f in folders)
    return {backbone.id: backbone for backbone in found}


def open_reference(backbone_id: str, seed: int) -> Model:
    """The weights trained with ``seed``. Raises MissingSeedError, or ModelError if unreadable."""
    backbone = references()[backbone_id]
    if seed not in backbone.seeds:
        there = ", ".join(map(str, backbone.seeds)) or "none"
        raise MissingSeedError(
            f"{backbone_id} has no weights for seed {seed} (seeds: {there}); "
            f"`paretoken backbones train {backbone_id} --seed {seed}` makes them"
        )
    folder = backbone.path / f"seed-{seed}"
    path = folder.relative_to(REFERENCE).as_posix()
    weights = Weights(name=backbone_id, path=path, fingerprint=fingerprint(folder))
    return Model(weights, _config(folder))


def open_hugging_face(name: str, revision: str | None, dtype: str, base: Path) -> Model:
    """A model directory, relative to ``base``, or a hub id. Raises ModelError."""
    folder = _folder(name, base)
    if folder is not None:
        if revision is not None:
            raise ModelError(f"{name} is a directory; a revision is for hub ids")
        weights = Weights(name=name, path=str(folder), dtype=dtype, fingerprint=fingerprint(folder))
        return Model(weights, _config(folder))
    if any(Path(name).match(pattern) for pattern in PICKLED):
        raise ModelError(_no_safetensors(Path(name).parent, [Path(name).name]))
    if not HUB_ID.match(name):
        raise ModelError(f"there is no model directory {name}, seen from {base}")
    commit, config = _hub_config(name, revision)
    digest = hashlib.sha256(f"hub:{name}@{commit}".encode()).hexdigest()[:16]
    weights = Weights(name=name, path=name, revision=commit, dtype=dtype, fingerprint=digest)
    return Model(weights, config)


def configs() -> dict[str, Path]:
    """Shapes that ship, by id, sorted; their sources are in the folder's README."""
    return dict(sorted((path.stem, path) for path in CONFIGS.glob("*.json")))


@dataclass(frozen=True)
class Shape:
    """A shape that ships, as the folder's README describes it."""

    id: str
    parameters: str
    """How many, in words."""
    tokens: str
    """What there is to compress, in words."""
    source: str
    """Where its figures come from."""


def shapes() -> dict[str, Shape]:
    """Shapes that ship, with their lines of the README's table, by id, sorted."""
    page = (CONFIGS / "README.md").read_text(encoding="utf-8")
    lines = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| `")]
    found = {cells[0].strip("`"): cells[1:] for cells in lines}
    return {name: Shape(name, *found[name]) for name in configs()}


def open_random(name: str, layers: int | None, dtype: str, seed: int, base: Path) -> Model:
    """The shape ``name`` (shipped, relative to ``base``, or a hub id), its weights drawn by seed.

    ``layers`` cuts its depth, which the model's name then says. Raises ModelError.
    """
    config = _shape(name, base)
    if not isinstance(config.get("model_type"), str):
        raise ModelError(f"{name} names no model_type, so that no model can be made of it")
    label = f"{name}, random weights"
    if layers is not None:
        whole, config = _cut(name, config, layers)
        label = f"{name}, {layers} of {whole} layers, random weights"
    content = json.dumps(config, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(f"random:{seed}:{content}".encode()).hexdigest()[:16]
    weights = RandomWeights(name=label, dtype=dtype, fingerprint=digest, config=content, seed=seed)
    return Model(weights, config)


def location(weights: AnyWeights) -> str:
    """What to open, on this machine: an absolute directory or a hub id."""
    assert isinstance(weights, Weights), "random weights are nowhere"
    shipped = weights.name in references() and not Path(weights.path).is_absolute()
    return str(REFERENCE / weights.path) if shipped else weights.path


def missing(weights: AnyWeights) -> Path | None:
    """The directory that this machine lacks, or None; hub models are not looked for."""
    if isinstance(weights, RandomWeights):
        return None
    folder = Path(location(weights))
    return folder if folder.is_absolute() and not folder.is_dir() else None


def unchanged(weights: AnyWeights) -> bool:
    """Whether a directory still holds what was planned; hub models are pinned to a commit."""
    if isinstance(weights, RandomWeights):
        return True
    where = folder(weights)
    if where.is_absolute():
        return where.is_dir() and fingerprint(where) == weights.fingerprint
    return True


def folder(weights: Weights) -> Path:
    """Where the weights lie on this machine; relative for a hub id."""
    return Path(location(weights))


def fingerprint(folder: Path) -> str:
    """Hash of ``config.json`` and of every safetensors file, 16 hexadecimal digits.

    Raises ModelError if the folder holds no model that may be opened.
    """
    config = folder / "config.json"
    if not config.is_file():
        raise ModelError(f"{folder} holds no config.json, so it is no Hugging Face model directory")
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(_no_safetensors(folder, [path.name for path in _pickled(folder)]))
    whole = hashlib.sha256()
    for path in (config, *files):
        whole.update(f"{path.name}:{_file_digest(path)}\n".encode())
    return whole.hexdigest()[:16]


def _shape(name: str, base: Path) -> dict[str, Any]:
    if name in configs():
        return _config(CONFIGS, configs()[name].name)
    folder = _folder(name, base)
    if folder is not None:
        return _config(folder)
    if name.endswith(".json"):
        return _config(base, name)
    if HUB_ID.match(name):
        return _config(_hub_snapshot(name, None))
    near = nearest(name, configs())
    hint = f"; did you mean {near!r}?" if near else ""
    raise ModelError(
        f"unknown config {name!r}{hint} (choices: {', '.join(configs())}; a directory, a .json "
        "file or a hub id)"
    )


def _cut(name: str, config: dict[str, Any], layers: int) -> tuple[int, dict[str, Any]]:
    """How many layers a shape has, and the shape with fewer."""
    from methods.backbones.registry import adapter_for

    try:
        adapter = adapter_for(config)
        whole = adapter.layers_in(config)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{name}: {error}") from None
    if layers > whole:
        raise ModelError(f"layers {layers}: {name} has only {whole}")
    return whole, adapter.shortened(config, layers)


def _folder(name: str, base: Path) -> Path | None:
    """The directory that ``name`` means, if there is one."""
    try:
        folder = (base / Path(name).expanduser()).absolute()
        return folder if folder.is_dir() else None
    except (OSError, RuntimeError):  # a name too long, or ~ of an unknown user
        return None


def _no_safetensors(where: object, pickled: list[str]) -> str:
    if not pickled:
        return f"{where} holds no *.safetensors weights"
    return (
        f"{where} holds pickled weights ({pickled[0]}), which run code when they are read; "
        "load it once where you trust it and save it with model.save_pretrained(folder)"
    )


def _pickled(folder: Path) -> list[Path]:
    return sorted(path for pattern in PICKLED for path in folder.glob(pattern))


def _seeds(folder: Path) -> tuple[int, ...]:
    found = (path.parent.name.removeprefix("seed-") for path in folder.glob("seed-*/config.json"))
    return tuple(sorted(int(seed) for seed in found if seed.isdecimal()))


def _config(folder: Path, file: str = "config.json") -> dict[str, Any]:
    path = folder / file
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is not readable JSON: {error}") from None
    if not isinstance(config, dict):
        raise ModelError(f"{path} does not hold a JSON object")
    return config


def _file_digest(path: Path) -> str:
    try:
        stat = path.stat()
        return _digest(path, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from None


@lru_cache(maxsize=1024)
def _digest(path: Path, size: int, mtime_ns: int) -> str:  # noqa: ARG001 - they are the cache's key
    if path.suffix == ".safetensors":
        _require_intact(path)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _require_intact(path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy"):
            pass
    except SafetensorError as error:
        raise ModelError(f"{path} is not an intact safetensors file: {error}") from None


@cache
def _hub_config(name: str, revision: str | None) -> tuple[str, dict[str, Any]]:
    """Commit and config of a hub model whose weights may be opened."""
    snapshot = _hub_snapshot(name, revision)
    _require_hub_safetensors(name, snapshot)
    return snapshot.name, _config(snapshot)


def _hub_snapshot(name: str, revision: str | None) -> Path:
    """Folder of a hub model with its config: from the local cache, else from the hub."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        try:
            path = hf_hub_download(name, "config.json", revision=revision, local_files_only=True)
        except LocalEntryNotFoundError:
            path = hf_hub_download(name, "config.json", revision=revision, etag_timeout=HUB_TIMEOUT)
    except (OSError, ValueError, HfHubHTTPError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ModelError(
            f"{name} is neither a directory, nor in the Hugging Face cache, nor could it be "
            f"downloaded ({type(error).__name__}: {reason})"
        ) from None
    return Path(path).parent


def _require_hub_safetensors(name: str, snapshot: Path) -> None:
    """Weights are cached as safetensors, or the hub says that it has them."""
    if any(snapshot.glob("*.safetensors")):
        return
    from huggingface_hub import HfApi

    try:
        files = HfApi().list_repo_files(name, revision=snapshot.name)
    except (OSError, ValueError):
        files = [path.name for path in _pickled(snapshot)]
        if not files:
            raise ModelError(
                f"the weights of {name} are not in the Hugging Face cache, and the hub cannot be "
                "reached"
            ) from None
    if not any(file.endswith(".safetensors") for file in files):
        pickled = [f for f in files if any(Path(f).match(pattern) for pattern in PICKLED)]
        raise ModelError(_no_safetensors(name, pickled))
