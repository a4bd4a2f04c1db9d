"""What the training recipes share: a fixed setting, a running report, saving."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import PreTrainedModel

THREADS = 1  # weights are bit-identical only for one thread count and instruction set
REPORT_EVERY = 50  # steps


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

    def __init__(
        self, name: str, steps: int, progress: Callable[[str], None], pass_mark: float = 0.0
    ) -> None:
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


def save(model: PreTrainedModel, out: Path) -> None:
    """Write config.json and model.safetensors, nothing else."""
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    (out / "generation_config.json").unlink(missing_ok=True)
    (out / "model.safetensors").chmod(0o644)  # safetensors writes files for their owner only
