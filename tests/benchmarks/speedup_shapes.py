"""Models of known shape for ``speedup``: what is run there, and how its parts are timed.

Widths of the two language models are divided by ``NARROWER`` with their number of heads, so that
two cores get through; a head keeps its width, and visual tokens, prompt and the encoders' width are
those of the real models. A narrower model does less work per token for the same compressor, so that
a compressor's share is larger here than at true scale.

Shapes: B sequences, T tokens of a prompt, C colour channels, H x W pixels.
"""

from __future__ import annotations

import json
import time
from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import torch
from torch import nn

from methods.backbones.base import Backbone, Compression
from methods.backbones.registry import adapter_for
from methods.places import Place
from methods.schedule import Progressive, Schedule, Uniform
from orchestrator.measurement.cost import measure_cost
from sweeps.models import configs
from sweeps.tasks.shape_kv import ShapeKV
from sweeps.tasks.shape_vision import ShapeVision
from sweeps.tasks.shape_vlm import ShapeVLM

NARROWER = 4
STEPS = 8
"""Tokens that are decoded over a cache, one by one."""

Clock = Callable[[], float]
CPU_CLOCK: Clock = time.process_time
"""Processor time of this one-threaded process: what other processes take is not in it."""


class Subject:
    """One model that a place's methods run on; ``parts`` are what is timed apart from each other.

    ``part`` is the one that compression makes faster, ``paid`` the one in which compressors work.
    """

    place: ClassVar[Place]
    part: ClassVar[str]
    paid: ClassVar[str]
    title: ClassVar[str]
    control: ClassVar[Schedule] = Uniform()
    """Where controls cut, which have no paper; other methods cut where theirs does."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.backbone: Backbone = adapter_for(config).drawn(config, torch.float32, seed=0)

    @abstractmethod
    def answer(self) -> object:
        """Run the model once."""

    def seconds(self) -> dict[str, float]:
        """Time of every part of one run."""
        started = CPU_CLOCK()
        self.answer()
        return {self.part: CPU_CLOCK() - started}

    def flops(self, setting: AbstractContextManager[Compression]) -> float:
        """Operations of ``part`` in one run inside a block of the backbone."""
        with setting:
            return measure_cost(self.answer).flops


class Tower(Subject):
    """DeiT-B at 384 px: 576 patches, cut on their way."""

    place: ClassVar[Place] = "vision"
    part: ClassVar[str] = "forward"
    paid: ClassVar[str] = "forward"
    title: ClassVar[str] = "deit-b-384, 12 layers, 1 image of 576 patches"
    control: ClassVar[Schedule] = Progressive()

    def __init__(self) -> None:
        super().__init__(_config("deit-b-384"))
        self.task = ShapeVision(batch_size=1)
        self.batch = self.task.drawn(self.backbone.model.config)

    def answer(self) -> object:
        """One forward pass."""
        return self.task.answer(self.backbone, self.batch)  # type: ignore[arg-type]


class Reader(Subject):
    """LLaVA-1.5: from the pixels to the first token of the answer."""

    place: ClassVar[Place] = "vlm"
    part: ClassVar[str] = "first token"
    paid: ClassVar[str] = "first token"
    title: ClassVar[str] = (
        f"llava-1.5-7b, language model of 6 layers at 1/{NARROWER} width, tower of 3 layers, "
        "576 visual and 64 text tokens"
    )

    def __init__(self) -> None:
        config = _config("llava-1.5-7b")
        config["text_config"] |= narrower(config["text_config"]) | {"num_hidden_layers": 6}
        config["vision_config"]["num_hidden_layers"] = 3
        config["image_token_index"] = config["text_config"]["vocab_size"] - 1
        super().__init__(config)
        self.task = ShapeVLM(batch_size=1, new_tokens=1)
        self.batch = self.task.drawn(self.backbone.model.config)

    def answer(self) -> object:
        """Read the images and the prompt, give one token."""
        return self.task.answer(self.backbone, self.batch)  # type: ignore[arg-type]


class Decoder(Subject):
    """Llama-3: a prompt of 2,048 tokens is read, its cache cut, and tokens are decoded over it."""

    place: ClassVar[Place] = "kv"
    part: ClassVar[str] = "decode"
    paid: ClassVar[str] = "prefill"
    title: ClassVar[str] = (
        f"llama-3-8b, 3 layers at 1/{NARROWER} width, prompt of 2,048 tokens, {STEPS} decoded"
    )

    def __init__(self) -> None:
        config = _config("llama-3-8b")
        super().__init__(config | narrower(config) | {"num_hidden_layers": 3})
        self.task = ShapeKV(batch_size=1, prompt_length=2048, new_tokens=STEPS)
        self.batch = self.task.drawn(self.backbone.model.config)

    def answer(self) -> object:
        """Read the prompt, decode."""
        return self.task.answer(self.backbone, self.batch)  # type: ignore[arg-type]

    def seconds(self) -> dict[str, float]:
        """Decoding steps are calls of the whole model, all else is reading the prompt."""
        with Laps(self.backbone.model) as laps:
            whole = super().seconds()[self.part]
        # The first step finds caches of the processor cold that later ones find warm.
        step = sorted(laps.seconds)[len(laps.seconds) // 2]
        return {"prefill": whole - sum(laps.seconds), "decode": step}

    def flops(self, setting: AbstractContextManager[Compression]) -> float:
        """Operations of one decoding step over a cache of this many entries per layer."""
        with setting as compression, Laps(self.backbone.model, counted=True) as laps:
            self.answer()
        del compression
        return laps.flops[-1]


class Laps:
    """Time, or operations, of every call of a module inside the block."""

    def __init__(self, module: nn.Module, *, counted: bool = False) -> None:
        self.module = module
        self.counted = counted
        self.seconds: list[float] = []
        self.flops: list[float] = []

    def __enter__(self) -> Laps:
        plain = self.module.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            found: list[Any] = []

            def call() -> None:
                found.append(plain(*args, **kwargs))

            if self.counted:
                self.flops.append(measure_cost(call).flops)
                return found[0]
            started = CPU_CLOCK()
            call()
            self.seconds.append(CPU_CLOCK() - started)
            return found[0]

        self.module.forward = forward
        return self

    def __exit__(self, *_: object) -> None:
        del self.module.forward


SUBJECTS: dict[str, type[Subject]] = {
    subject.place: subject for subject in (Tower, Reader, Decoder)
}


def narrower(config: dict[str, Any]) -> dict[str, Any]:
    """The parts of a decoder's shape that differ at a fraction of its width."""
    shrunk = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads")
    return {name: config[name] // NARROWER for name in shrunk} | {
        "vocab_size": 8192,
        "bos_token_id": None,
        "eos_token_id": None,
    }


def _config(name: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(configs()[name].read_text())
    return config
