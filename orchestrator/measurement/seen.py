"""What a model saw of one example under a trial's compression: the pixels or words, and W.

The trial's method runs on the example alone, with the trial's weights, seed and schedule. A method
that draws at random draws as for the first example of a batch; outcomes of all others are those
that were measured.

Shapes: N tokens that arrived first, K tokens left, B images or heads.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from dashboards.app.seen import Picture, Seen, Step
from methods.backbones.base import Backbone, Compression, watched_history
from methods.infeasible import MissingHereError
from methods.transform import TokenTransform
from orchestrator.measurement.models import build_method, build_task, compressed, warm_backbone
from store.repository import Store
from sweeps.examples import inputs
from sweeps.tasks._requests import only_row
from sweeps.trial import TrialSpec

_ONE_AT_A_TIME: Final = threading.Lock()
"""A backbone is compressed by one at a time."""
_EVERYWHERE: Final = "all layers"
_DRAWS: Final = "It draws at random, or remembers: alone, the example may be treated otherwise"
_UNSEEN: Final = "It leaves no record of which tokens it kept"
_WORDS: Final = {"vlm": "visual tokens", "kv": "cache"}
_ELSEWHERE: Final = {
    "storage": "It holds all entries, in fewer bits",
    "attention": "It holds all entries and reads some of them at every step",
    "weights": "It changes the format of the weights and keeps all tokens",
    "decoding": "It drafts tokens ahead and keeps all that are there",
    "edit": "It edits a cache: which entries are new depends on the edit",
}


def look(store_url: str, trial_id: str, example: int) -> Seen:
    """An example as a stored trial saw it; the models that were used last stay in memory.

    Raises ValueError for a trial that no sweep has planned, and as :func:`seen` does.
    """
    with _ONE_AT_A_TIME, Store(store_url) as store:
        return seen(store.trial_spec(trial_id), example)


def seen(spec: TrialSpec, example: int) -> Seen:
    """One example as the trial's model saw it.

    Raises ValueError for an example that the task does not have, for one that is no longer what was
    measured, and where the trial's model or method is not here.
    """
    task = build_task(spec)
    if task.data_fingerprint() != spec.data:
        raise ValueError(f"the examples of task {task.id!r} are no longer those that were measured")
    only = only_row(task, example)
    try:
        backbone = warm_backbone(spec.backbone)
    except MissingHereError as error:
        raise ValueError(str(error)) from None
    with torch.inference_mode(), task.prepared(backbone, only):
        with watched_history() as history, compressed(backbone, spec):
            outcome = float(task.outcomes(backbone, only)[0])
        with compressed(backbone, spec) as compression:
            answer = task.predict(backbone, only)[0]
        steps = list(_steps(compression))
    return Seen(
        answer=answer,
        outcome=outcome,
        pictures=_pictures(only, steps),
        words=task.words(only),
        inputs=_small(inputs(task, example)),
        steps=steps,
        remark=_DRAWS if history.matters else _remark(backbone, spec, steps),
    )


def _steps(compression: Compression) -> Iterator[Step]:
    """What is left after every W that was applied, place by place."""
    at_work = {place: found for place, found in compression.transforms.items() if found}
    for place, found in at_work.items():
        name = "" if len(at_work) == 1 else f"{_WORDS.get(place, place)}, "
        yield from (_by_heads if place == "kv" else _chained)(name, found)


def _chained(name: str, transforms: dict[int, TokenTransform]) -> Iterator[Step]:
    """Reductions of what the reduction before has left; images of one example side by side."""
    so_far_BKN: Tensor | None = None
    for layer, transform in sorted(transforms.items()):
        dense_BKN = transform.dense().float().cpu()
        if so_far_BKN is not None:
            dense_BKN = dense_BKN @ so_far_BKN
        so_far_BKN = dense_BKN
        groups_BN = _groups(so_far_BKN)
        shares = (groups_BN >= 0).float().flatten().tolist()
        yield Step(f"{name}layer {layer}", shares, groups_BN.flatten().tolist())


def _groups(dense_BKN: Tensor) -> Tensor:
    """The output that holds most of each input [B, N], numbered apart from image to image."""
    most_BN, groups_BN = dense_BKN.max(dim=1)
    firsts_B1 = torch.arange(len(dense_BKN))[:, None] * dense_BKN.shape[1]
    return torch.where(most_BN > 0, groups_BN + firsts_B1, -1)


def _by_heads(name: str, transforms: dict[int, TokenTransform]) -> Iterator[Step]:
    """Entries of every layer's cache, and of all of them together."""
    shares = []
    for layer, transform in sorted(transforms.items()):
        held_BN = transform.dense().float().cpu().sum(dim=1) > 0
        shares.append(held_BN.float().mean(dim=0))
        yield Step(f"{name}layer {layer}", shares[-1].tolist())
    if len({len(each) for each in shares}) == 1:
        yield Step(f"{name}{_EVERYWHERE}", torch.stack(shares).mean(dim=0).tolist())


def _pictures(only: Any, steps: Sequence[Step]) -> list[Picture]:
    """The example's images; the grid is that of the tokens that the first step found on them."""
    pixels = [_images(getattr(only, field.name)) for field in dataclasses.fields(only)]
    images = [image for group in pixels for image in group]
    tokens = len(steps[0].shares_N) if steps else 0
    return [Picture(_bytes(image), _grid(image, tokens // len(images))) for image in images]


def _images(tensor: Tensor) -> list[Tensor]:
    """The images [C, H, W] in a batch of one example; none if it holds no pixels."""
    if not tensor.is_floating_point() or tensor.dim() < 4 or tensor.shape[-3] not in (1, 3):
        return []
    return list(tensor.flatten(0, -4))


def _grid(image: Tensor, tokens: int) -> tuple[int, int]:
    """Rows and columns of square patches."""
    height, width = image.shape[-2:]
    rows = max(1, round((tokens * height / width) ** 0.5))
    return rows, max(1, tokens // rows)


def _bytes(image_CHW: Tensor) -> Any:
    """From whatever normalisation to 0..255, over the image's own range."""
    low, high = image_CHW.min(), image_CHW.max()
    scaled = (image_CHW - low) / (high - low).clamp_min(1e-6)
    return (255 * scaled).byte().permute(1, 2, 0).expand(-1, -1, 3).numpy().astype(np.uint8)


def _small(found: dict[str, Any]) -> dict[str, Any]:
    """What people read: no lists of token ids, no types of arrays."""
    return {
        name: value
        for name, value in found.items()
        if not isinstance(value, list | str) or name not in _TENSORS
    }


_TENSORS: Final = frozenset({"pixel_values", "pixels", "context", "continuation", "fed"})


def _remark(backbone: Backbone, spec: TrialSpec, steps: Sequence[Step]) -> str | None:
    method = build_method(spec)
    if steps or spec.keep_ratio == 1:
        return None
    places = [stage.place for stage in backbone.stages(method, spec.schedule, spec.keep_ratio)]
    return next((_ELSEWHERE[place] for place in places if place in _ELSEWHERE), _UNSEEN)
