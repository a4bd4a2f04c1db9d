"""What a task is: examples, a metric with its direction, outcomes per example."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from methods.backbones.base import Backbone
from methods.places import Place


class SizedBatch(Protocol):
    """Examples of one forward pass."""

    def __len__(self) -> int:
        """Number of examples."""
        ...


BatchT = TypeVar("BatchT", bound=SizedBatch)
BackboneT = TypeVar("BackboneT", bound=Backbone)


class Task(BaseModel, Generic[BackboneT, BatchT]):
    """Examples and how they are scored; the fields are the knobs that change the data.

    Subclasses live one to a file in ``sweeps/tasks``; the module's docstring is the task's card.
    Raise ``version`` whenever a change alters outcomes: older trials are then not reused.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: ClassVar[str]
    version: ClassVar[int] = 1
    place: ClassVar[Place]
    metric: ClassVar[str] = "accuracy"
    """What ``quality``, the mean of the outcomes, is called in words."""
    direction: ClassVar[Literal["maximize", "minimize"]] = "maximize"
    """Which outcomes are better. Outcomes that are maximised are in [0, 1], a share of what could
    be reached; outcomes that are minimised are finite and not negative, in the metric's unit."""

    has_answers: ClassVar[bool] = True
    """Whether an example can be answered right or wrong; without, only costs are measured."""
    edits_prompts: ClassVar[bool] = False
    """Whether prompts are edited after they were read."""

    num_examples: int = Field(
        default=256, ge=8, description="Examples from the front of the test split."
    )
    batch_size: int = Field(default=32, ge=1, description="Examples in one forward pass.")

    @classmethod
    def least_examples(cls) -> int:
        """The fewest examples that there can be."""
        bounds = cls.model_fields["num_examples"].metadata
        return next(int(bound.ge) for bound in bounds if hasattr(bound, "ge"))

    def data_fingerprint(self) -> str:
        """Hash of everything that determines the examples; imports no data library."""
        content = {"task": self.id, "version": self.version, **self.model_dump(mode="json")}
        content["sources"] = self.source_digests()
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def source_digests(self) -> list[str]:
        """Digests of the files that the data are made of; empty for procedural data."""
        return []

    def num_tokens(self, config: dict[str, Any]) -> int:
        """Compressible tokens of one example for a model with this ``config.json``."""
        raise NotImplementedError

    def incompatible_with(self, config: dict[str, Any]) -> str | None:
        """Why a model with this ``config.json`` cannot do the task, in one sentence, or None."""
        raise NotImplementedError

    @property
    def answer_length(self) -> int:
        """Tokens that are generated one after another for an answer; 0 where none are."""
        return 0

    def nothing_for(self, place: Place) -> str | None:
        """Why a method at ``place`` would have nothing to do here, in one sentence, or None."""
        if place == "edit" and not self.edits_prompts:
            return f"{self.id} edits no prompt, so that there is no cache to edit"
        if place == "decoding" and self.answer_length < 2:
            answers = "answers of one token" if self.answer_length else "no answers"
            return f"{self.id} generates {answers}, so that none can be drafted ahead"
        return None

    def batches(self) -> list[BatchT]:
        """The examples; made once per process."""
        raise NotImplementedError

    def cost_batch(self, backbone: BackboneT, num_examples: int) -> BatchT:  # noqa: ARG002
        """What costs are measured on: of the first batch, up to ``num_examples``."""
        return self.part_of(self.batches()[0], 0, num_examples)

    def part_of(self, batch: BatchT, start: int, stop: int) -> BatchT:
        """Some of a batch's examples, as they stand in it, padding and all."""
        whole: Any = batch  # a dataclass of tensors with examples in front
        fields = dataclasses.fields(whole)
        chosen = {field.name: getattr(whole, field.name)[start:stop] for field in fields}
        part: BatchT = dataclasses.replace(whole, **chosen)
        return part

    def shape_of(self, batch: BatchT) -> tuple[Any, ...]:
        """Equal for batches that :meth:`joined` can put together."""
        whole: Any = batch
        return tuple(getattr(whole, f.name).shape[1:] for f in dataclasses.fields(whole))

    def joined(self, batches: Sequence[BatchT]) -> BatchT:
        """One batch of the examples of several that have one shape, in their order."""
        first: Any = batches[0]
        if len(batches) == 1:
            return batches[0]
        names = [field.name for field in dataclasses.fields(first)]
        parts = {name: torch.cat([getattr(batch, name) for batch in batches]) for name in names}
        together: BatchT = dataclasses.replace(first, **parts)
        return together

    def clusters(self) -> list[int]:
        """A number per example, equal for examples that hang together; empty if none do.

        Examples that share a source are no independent witnesses: error bars are taken over
        clusters.
        """
        return []

    def prepared(self, backbone: BackboneT, batch: BatchT) -> AbstractContextManager[None]:  # noqa: ARG002
        """Inside, whatever is there before ``outcomes`` is called; none of its cost is counted."""
        return nullcontext()

    def outcomes(self, backbone: BackboneT, batch: BatchT) -> Tensor:
        """Score of every example, float32 [B]; see ``direction`` for its range."""
        raise NotImplementedError

    def predict(self, backbone: BackboneT, batch: BatchT) -> list[dict[str, Any]]:
        """Answers as plain JSON values, one per example."""
        raise NotImplementedError

    def readable(self, batch: BatchT) -> dict[str, Any]:  # noqa: ARG002
        """What people can read of a batch of one example, besides its small fields."""
        return {}

    def words(self, batch: BatchT) -> list[str]:  # noqa: ARG002
        """The prompt of a batch of one example, token by token as people read it.

        In the order of a cache's entries; empty where there is none.
        """
        return []

    def batch_of(self, inputs: dict[str, Any]) -> BatchT:
        """One example from a request. Raises ValueError that says what was wrong."""
        raise NotImplementedError
