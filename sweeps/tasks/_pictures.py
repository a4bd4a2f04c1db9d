"""What tasks on scenes share: pictures in requests, models that fit, the scans' digest."""

from __future__ import annotations

import gzip
import hashlib
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sweeps.data import scenes


def num_patches(vision_config: dict[str, Any]) -> int:
    """Patches of one scene; the class token is not compressed."""
    patch: int = vision_config["patch_size"]
    return (scenes.SIDE // patch) ** 2


def unfit(task_id: str, vision_config: dict[str, Any], side: int = scenes.SIDE) -> str | None:
    """Why a tower with this configuration cannot see RGB scenes of `side` px, or None."""
    expected = {"image_size": side, "num_channels": 3}
    for name, value in expected.items():
        if vision_config.get(name) != value:
            return f"{task_id} needs {name} {value}; this model has {vision_config.get(name)}"
    return None


def picture(value: Any, side: int = scenes.SIDE) -> Tensor:
    """A scene of `side` px from nested lists: float32 [3, S, S]; ValueError if it is none."""
    shape = (3, side, side)
    try:
        pixels = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"pixel_values must have shape {shape}; its rows differ") from error
    if pixels.shape != shape:
        raise ValueError(f"pixel_values must have shape {shape}; got {pixels.shape}")
    if pixels.dtype.kind not in "iuf":
        raise ValueError("pixel_values must hold numbers only")
    if not (np.abs(pixels) <= np.finfo(np.float32).max).all():
        raise ValueError("pixel_values must be finite in float32")
    return torch.from_numpy(pixels.astype(np.float32))


@lru_cache(maxsize=1)
def scans_digest() -> str:
    """SHA-256 of the scans, found without importing scikit-learn, which takes a second."""
    spec = find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise ValueError("scenes of digits need scikit-learn, which holds their scans")
    packed = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
    return hashlib.sha256(gzip.decompress(packed.read_bytes())).hexdigest()
