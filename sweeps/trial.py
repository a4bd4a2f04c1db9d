"""One point of a sweep and what came of it; plain data that crosses process borders."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cached_property, lru_cache
from json.encoder import encode_basestring_ascii
from typing import Annotated, Any, ClassVar, Final, Literal, Self, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    field_serializer,
    model_validator,
)

from methods.schedule import Schedule
from sweeps.failures import FailureKind as FailureKind
from sweeps.failures import Remedy
from sweeps.times import Times

BASELINE: Final = "identity"
"""The method that every other is compared with."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    derived: ClassVar[tuple[str, ...]] = ()
    """What is computed once, and anew for a copy."""

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with other values, which knows nothing that was derived from the old ones."""
        copied = super().model_copy(update=update, deep=deep)
        for name in self.derived:
            copied.__dict__.pop(name, None)
        return copied


class _Hashed(_Frozen):
    """A part of a trial that many trials share: its share of their ids is written once."""

    derived: ClassVar[tuple[str, ...]] = ("canonical",)
    not_hashed: ClassVar[frozenset[str]] = frozenset()

    @cached_property
    def canonical(self) -> str:
        """Canonical JSON of what can change numbers."""
        return canonical_json(self.model_dump(mode="json", exclude=set(self.not_hashed)))


class Named(_Hashed):
    """A task or method by id, with the parameters that differ from a blank one resolved."""

    id: str
    version: int
    params: dict[str, JsonValue] = Field(default_factory=dict)

    derived: ClassVar[tuple[str, ...]] = ("canonical", "canonical_params")

    @cached_property
    def canonical_params(self) -> str:
        """Canonical JSON of the parameters."""
        return canonical_json(self.params)


class Weights(_Hashed):
    """A model that can be opened anywhere the path or hub id is reachable."""

    not_hashed = frozenset({"name", "path"})

    name: str
    """Reference id, path or hub id, as the user wrote it."""
    path: str
    """Directory or hub id to open; for reference weights, the seed's directory relative to
    ``sweeps/reference``."""
    revision: str | None = None
    dtype: str = "float32"
    fingerprint: str
    """Hash of config and weights; for a hub id that is not on disk, of id and revision."""


class RandomWeights(_Hashed):
    """A model drawn where it is needed: the shape of a ``config.json`` and a seed, nothing on disk.

    Good for costs, which depend on shapes; its answers mean nothing.
    """

    not_hashed = frozenset({"name"})

    name: str
    """Shipped config, path or hub id as the user wrote it, with the depth where that was cut."""
    dtype: str = "float32"
    fingerprint: str
    """Hash of config and seed."""
    config: str
    """The content of ``config.json``, canonical."""
    seed: int


AnyWeights = Weights | RandomWeights
Measured = Literal["quality", "cost", "latency"]
EVERYTHING: Final[tuple[Measured, ...]] = get_args(Measured)
BatchSize = Annotated[int, Field(ge=1)]
Timed = Literal["all", "frontier"]


def _as_list(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else (value,) if type(value) is int else value


class MeasureSpec(_Hashed):
    """What is measured, and how."""

    what: tuple[Measured, ...] = Field(
        default=EVERYTHING,
        description="quality and latency may be left out; costs are always measured.",
    )
    latency_pairs: int = Field(
        default=9,
        ge=0,
        description="Baseline and compressed runs in turn, alone on their device; below 6 there is "
        "no interval of 95 % confidence, 0 measures no latency.",
    )
    latency_batch: Annotated[
        tuple[BatchSize, ...],
        BeforeValidator(_as_list, json_schema_input_type=BatchSize | list[BatchSize]),
    ] = Field(
        default=(8,),
        min_length=1,
        description="Examples in one timed run, or several such sizes; costs are counted, and "
        "points compared, at the first.",
    )
    latency_of: Timed = Field(
        default="all",
        description="Which trials are timed: all, or those that the other objectives leave on the "
        "frontier and the baseline.",
    )

    @field_serializer("latency_batch")
    def _as_written(self, sizes: tuple[int, ...]) -> Any:
        return sizes[0] if len(sizes) == 1 else list(sizes)

    @property
    def quality(self) -> bool:
        """Whether answers are judged."""
        return "quality" in self.what

    @cached_property
    def canonical(self) -> str:
        """How a trial is timed does not enter: times are taken apart from the rest.

        Only whether it is timed at all does. Trials that are, keep the ids that three pairs gave
        them, and those that measure quality the ids from before there were others.
        """
        content: dict[str, Any] = {
            "latency_pairs": 3 if self.latency_pairs else 0,
            "latency_batch": self.batch,
        }
        return canonical_json(content if self.quality else content | {"quality": False})

    @property
    def batch(self) -> int:
        """Examples that costs are counted on."""
        return self.latency_batch[0]

    @property
    def timed_batches(self) -> tuple[int, ...]:
        """Batch sizes that are timed, each once."""
        return tuple(dict.fromkeys(self.latency_batch)) if self.latency_pairs else ()

    @model_validator(mode="before")
    @classmethod
    def _untimed_without_latency(cls, data: Any) -> Any:
        """``what`` in one order; without latency there are no pairs, so that equals are equal."""
        if not isinstance(data, dict) or not isinstance(data.get("what"), list | tuple):
            return data
        chosen = tuple(data["what"])
        if any(name not in EVERYTHING for name in chosen):
            return {**data, "what": chosen}
        if "cost" not in chosen:
            raise ValueError("costs are always measured: add cost to the list")
        timed = {} if "latency" in chosen else {"latency_pairs": 0}
        return {**data, "what": tuple(name for name in EVERYTHING if name in chosen), **timed}


class TrialSpec(_Frozen):
    """Everything that can change a trial's numbers, and nothing else."""

    derived = ("id",)

    task: Named
    data: str
    """Fingerprint of the examples."""
    backbone: AnyWeights
    method: Named
    schedule: Schedule
    keep_ratio: float = Field(gt=0, le=1)
    seed: int = Field(ge=0)
    measure: MeasureSpec = MeasureSpec()

    @cached_property
    def id(self) -> str:
        """Content hash, 16 hexadecimal digits; equal specs are the same trial everywhere.

        Where the weights lie does not enter, what they contain does. It is the hash of one JSON
        text with sorted keys, put together from parts that trials share.
        """
        parts = (
            f'"backbone":{self.backbone.canonical}',
            f'"data":{encode_basestring_ascii(self.data)}',
            f'"keep_ratio":{float(self.keep_ratio)!r}',
            f'"measure":{self.measure.canonical}',
            f'"method":{self.method.canonical}',
            f'"schedule":{_schedule(self.schedule)}',
            f'"seed":{self.seed}',
            f'"task":{self.task.canonical}',
        )
        return hashlib.sha256(f"{{{','.join(parts)}}}".encode()).hexdigest()[:16]


@lru_cache(maxsize=4096)
def _schedule(schedule: Schedule) -> str:
    return canonical_json(schedule.model_dump(mode="json"))


def canonical_json(content: Any) -> str:
    """JSON with sorted keys and no spaces."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


class TrialState(StrEnum):
    """How a trial ended."""

    FINISHED = "finished"
    FAILED = "failed"
    INFEASIBLE = "infeasible"
    """It turned out to be impossible: like a combination that planning leaves out."""


class Metrics(Times):
    """Numbers of a finished trial, with those of its timing.

    A bare cost name is the fraction of the uncompressed baseline in the same process; a name with a
    unit is absolute. Per-example values are for one example of the task.
    """

    quality: float | None
    """Mean outcome: in [0, 1], or in the unit of a task whose metric has one; None where only costs
    were measured."""
    quality_se: float | None
    """Standard error of the mean over examples."""
    num_examples: int
    """Examples behind the quality."""
    tokens: float
    """Measured ratio: tokens that enter the layers, or that caches hold, over the baseline's."""
    tokens_per_layer: list[int]
    flops: float
    flops_per_example: float
    """Floating-point operations of a forward pass, the compressor's included."""
    kv: float | None
    """Bytes of keys and values held, over the baseline's; None where there is no cache."""
    kv_bytes: int | None
    weights: float = 1.0
    """Bytes of the weights as held, over the baseline's."""
    weight_bytes: int = 0
    attended: float | None = None
    """Cache entries that decoding steps read, over those they could have read; None where nothing
    is decoded."""
    steps: float | None = None
    """Forward passes per new token, over the baseline's; None where nothing is decoded."""
    peak_memory: float
    peak_bytes: int
    """Largest sum of live tensor bytes during a forward pass of the cost batch; no weights."""
    simulated: list[str] = Field(default_factory=list)
    """Metrics whose saving the method only simulates; they enter no frontier."""

    @property
    def times(self) -> Times:
        """The part that timing gives."""
        return Times(**{name: getattr(self, name) for name in Times.model_fields})


@dataclass(frozen=True)
class Head:
    """What the same trial gave over fewer examples: where a longer one can go on."""

    metrics: Metrics
    outcomes: list[float]


@dataclass(frozen=True)
class TrialResult:
    """What one attempt at a trial gave; of times only the compressor's, outside the lane."""

    trial_id: str
    state: TrialState
    started_at: datetime
    """UTC."""
    seconds: float
    """Wall time of the attempt in its worker."""
    worker: str
    """Node and process that ran it."""
    device: str | None = None
    """What it ran on: a node's CPU, or a GPU by its UUID; None if nobody knows."""
    metrics: Metrics | None = None
    outcomes: list[float] = field(default_factory=list)
    """Outcome per example, in the task's order."""
    clusters: list[int] = field(default_factory=list)
    """Which examples hang together; empty where the task does not say."""
    failure: FailureKind | None = None
    error: str | None = None
    """One clear sentence (and a traceback for bugs)."""
    remedy: Remedy | None = None
    """What is done about it: the trial runs again. None where this attempt was the last."""
    environment: dict[str, Any] = field(default_factory=dict)
    """Package versions, device, threads, code revision."""
