"""What the training recipes share: a fixed setting, stages of steps, a running report, saving."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from sweeps.data.streams import Split

THREADS = 1  # weights are bit-identical only for one thread count and instruction set
REPORT_EVERY = 50  # steps

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Stage:
    """One stretch of training; recipes add what their stages differ in."""

    name: str
    steps: int
    lr: float  # peak, after warm-up
    warmup: int = 50  # steps
    decay: bool = False  # cosine to zero
    pass_mark: float = 0.0  # share of right answers at the end, below which training stops

    def learning_rate(self, step: int, steps: int) -> float:
        """Of one step among `steps`, which a budget may have made fewer than planned."""
        rate = self.lr * min(1.0, (step + 1) / self.warmup)
        return rate * 0.5 * (1 + math.cos(math.pi * step / steps)) if self.decay else rate


@dataclass(frozen=True, kw_only=True)
class Optimiser:
    """Settings of AdamW."""

    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.02
    clip_norm: float = 1.0


StageT = TypeVar("StageT", bound=Stage)
ModelT = TypeVar("ModelT", bound=PreTrainedModel)


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """Fix thread count, seed and algorithms; the caller's settings are restored afterwards."""
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        torch.set_num_threads(THREADS)
        torch.use_deterministic_algorithms(True)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic)
            torch.set_num_threads(threads)


class Trace:
    """The losses of a stage, reported as it runs."""

    def __init__(self, name: str, steps: int, progress: Progress, pass_mark: float = 0.0) -> None:
        self.name = name
        self.steps = steps
        self.progress = progress
        self.pass_mark = pass_mark
        self.losses: list[float] = []
        self._accuracies: list[float] = []

    def add(self, loss: float, accuracy: float) -> None:
        """Record a step; `accuracy` is the share of right answers in its batch, 0..1."""
        self.losses.append(loss)
        self._accuracies.append(accuracy)
        done = len(self.losses)
        if done % REPORT_EVERY == 0 or done == self.steps:
            recent = slice(-REPORT_EVERY, None)
            losses, accuracies = self.losses[recent], self._accuracies[recent]
            self.progress(
                f"{self.name} {done}/{self.steps} loss {sum(losses) / len(losses):.3f} "
                f"accuracy {sum(accuracies) / len(accuracies):.3f}"
            )

    @property
    def passed(self) -> bool:
        """Whether the last steps' share of right answers reaches the pass mark."""
        recent = self._accuracies[-REPORT_EVERY:]
        return sum(recent) / len(recent) >= self.pass_mark

    def first(self) -> float:
        """Mean loss over the first tenth of the steps."""
        return self._mean(slice(None, self._tenth()))

    def last(self) -> float:
        """Mean loss over the last tenth of the steps."""
        return self._mean(slice(-self._tenth(), None))

    def _tenth(self) -> int:
        return max(1, len(self.losses) // 10)

    def _mean(self, part: slice) -> float:
        values = self.losses[part]
        return sum(values) / len(values)


def fit(
    name: str,
    stages: Sequence[StageT],
    loss_of: Callable[[StageT], tuple[Tensor, float]],
    parameters: Iterable[nn.Parameter],
    settings: Optimiser,
    progress: Progress,
    budget: float,
) -> list[Trace]:
    """Run the stages, or as many as pass their marks, and return what each reported.

    `loss_of` draws a batch and returns its loss and the share of right answers. `budget` scales
    the number of steps; below 1 no marks are set.
    """
    trained = list(parameters)
    optimizer = torch.optim.AdamW(
        trained, lr=0.0, betas=settings.betas, weight_decay=settings.weight_decay
    )
    traces: list[Trace] = []
    for stage in stages:
        steps = max(1, round(stage.steps * budget))
        pass_mark = stage.pass_mark if budget >= 1 else 0.0
        trace = Trace(f"{name} {stage.name}", steps, progress, pass_mark)
        traces.append(trace)
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = stage.learning_rate(step, steps)
            loss, correct = loss_of(stage)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(trained, settings.clip_norm)
            optimizer.step()
            trace.add(loss.item(), correct)
        if not trace.passed:
            break
    return traces


def save(model: PreTrainedModel, out: Path) -> None:
    """Write config.json and model.safetensors, nothing else."""
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    (out / "generation_config.json").unlink(missing_ok=True)
    (out / "model.safetensors").chmod(0o644)  # safetensors writes files for their owner only


def report(
    model: ModelT,
    out: Path,
    traces: Sequence[Trace],
    measure: Callable[[ModelT, Split], float],
) -> dict[str, float]:
    """Save the model, then measure what was saved.

    Returns `validation` and `test`, in the recipe's metric, and `loss_first` and `loss_last`, the
    means over the first tenth of the first trace and the last tenth of the last.
    """
    save(model, out)
    saved = type(model).from_pretrained(out).eval()
    return {
        "validation": measure(saved, "validation"),
        "test": measure(saved, "test"),
        "loss_first": traces[0].first(),
        "loss_last": traces[-1].last(),
    }
