"""The same work through Ray Tune, with its loggers and callbacks off."""

from __future__ import annotations

import os
import time
from typing import Any

from ray import tune

from tests.benchmarks.workload import compute


def work(config: dict[str, Any]) -> dict[str, float]:
    """One trial's work; when it started and ended."""
    started = time.time()
    quality = compute(config["seed"], config["steps"]).mean().item()
    return {"quality": quality, "started": started, "ended": time.time()}


def function_trial(config: dict[str, Any]) -> None:
    """Function API: a process per trial."""
    tune.report(work(config))


class ReusedTrial(tune.Trainable):  # type: ignore[misc]
    """Class API: the process stays for the next trial."""

    def setup(self, config: dict[str, Any]) -> None:
        self.config = config

    def step(self) -> dict[str, Any]:
        return {**work(self.config), "done": True}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.config = new_config
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        return None

    def load_checkpoint(self, checkpoint: Any) -> None:
        return None


def fit(trainable: Any, count: int, steps: int, folder: str, reuse: bool) -> list[dict[str, Any]]:
    """Run ``count`` trials, two at a time; what :func:`work` said of each."""
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space={"seed": tune.grid_search(list(range(count))), "steps": steps},
        tune_config=tune.TuneConfig(reuse_actors=reuse, max_concurrent_trials=2),
        run_config=tune.RunConfig(storage_path=folder, verbose=0),
    )
    results = tuner.fit()
    assert not results.errors, results.errors
    return [dict(result.metrics) for result in results]
