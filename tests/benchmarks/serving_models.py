"""What the serving benchmarks serve: the shipped classifier of digits, with more work to do.

The shipped model answers faster than HTTP does. This one gives the same answers, because the units
that are added to its feed-forward parts add zero, but takes as long as it is made wide: then the
model, and how much of it a point leaves out, is what a server spends its time on.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from store.releases.release import Release, release_of
from sweeps.models import references
from tests.measured import measured_store

SWEEP = """
name: {name}
keep: {keep}
measure: {{latency_pairs: 0}}
workloads:
  digits:
    task: {{id: digits, num_examples: 256, batch_size: 16}}
    backbone: {{hf: grown}}
    methods: [identity, divprune]
    objectives: {{quality: maximize, flops: minimize}}
"""


def grown(folder: Path, width: int) -> Path:
    """The shipped ViT with ``width`` units in every feed-forward part; returns its folder."""
    folder.mkdir(parents=True)
    source = references()["vit-digits"].path / "seed-0"
    config = json.loads((source / "config.json").read_text())
    weights = {
        name: _padded(tensor, config["intermediate_size"], width)
        for name, tensor in load_file(source / "model.safetensors").items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": width}))
    return folder


def released(folder: Path, name: str, width: int, keep: list[float]) -> tuple[Release, str]:
    """A measured sweep over the grown model, and its store's URL."""
    grown(folder / "grown", width)
    with measured_store(folder, SWEEP.format(name=name, keep=keep)) as store:
        return release_of(store, name), store.url


def _padded(tensor: torch.Tensor, size: int, width: int) -> torch.Tensor:
    """With zeros along the axis of that size; the shipped model has no other axis of it."""
    if size not in tensor.shape:
        return tensor
    axis, shape = tensor.shape.index(size), list(tensor.shape)
    shape[axis] = width - size
    return torch.cat([tensor, tensor.new_zeros(shape)], dim=axis)
