"""Folders that kvpress' ``evaluation/evaluate.py`` writes, one for each configuration.

A folder holds ``config.yaml`` (what was run), ``metrics.json`` (scores, for most datasets by task)
and ``predictions.csv``, whose column ``compression_ratio`` is the fraction that was really removed.
kvpress counts what is *removed*; here ``keep_ratio`` is what is kept. Scores stay in the unit of
their benchmark: RULER's are percentages, LooGLE's fractions.

Source: https://github.com/NVIDIA/kvpress, as of August 2026.
"""

from __future__ import annotations

import csv
import hashlib
import json
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from store.importing.collection import Collection, ImportedPoint

CONFIG, METRICS, PREDICTIONS = "config.yaml", "metrics.json", "predictions.csv"
UNCOMPRESSED: Final = "no_press"
_WORKLOAD = ("dataset", "data_dir", "model", "max_context_length", "needle_depth", "fraction")
"""Settings that change the question rather than the answer: they belong to a workload's name."""
_PER_POINT = ("press_name", "compression_ratio", "output_dir", "press_init_command", "threshold")
_SETTINGS = ("key_channel_compression_ratio", "head_compression_ratio", "threshold")
_BELOW_ALL = 1e-6


def read(folder: Path) -> Collection:
    """All results at or below ``folder``.

    Raises ValueError, naming the file, where one cannot be understood.
    """
    hashed = hashlib.sha256()
    points: list[ImportedPoint] = []
    configs = []
    for metrics_file in sorted(folder.rglob(METRICS)):
        run = metrics_file.parent
        config = _config(run / CONFIG)
        configs.append(config)
        for file in (metrics_file, run / CONFIG):
            hashed.update(file.read_bytes())
        points += _points(run, config, _scores(metrics_file), run.relative_to(folder).as_posix())
    if not points:
        raise ValueError(f"{folder} holds no {METRICS}: give the output_dir of kvpress' evaluation")
    return Collection(tuple(points), "kvpress", _shared(configs), hashed.hexdigest())


def _points(
    run: Path, config: Mapping[str, Any], scores: Mapping[str, float], origin: str
) -> Iterator[ImportedPoint]:
    method = str(config["press_name"])
    keep = 1.0 if method == UNCOMPRESSED else 1.0 - _removed(run, config)
    settings = {name: config[name] for name in _SETTINGS if config.get(name) is not None}
    for part, score in scores.items():
        yield ImportedPoint(
            workload=".".join(filter(None, (_workload(config), part))),
            method=method,
            keep_ratio=max(keep, _BELOW_ALL),
            hyperparameters=settings,
            seed=config.get("seed"),
            reported={"quality": score, "tokens": keep},
            origin=origin,
        )


def _workload(config: Mapping[str, Any]) -> str:
    parts = [str(config[name]) for name in _WORKLOAD if config.get(name) not in (None, "", 1.0)]
    return "/".join([*parts, *(["query-aware"] if config.get("query_aware") else [])])


def _removed(run: Path, config: Mapping[str, Any]) -> float:
    """The fraction removed: measured over the predictions, or else as it was asked for."""
    measured = _measured_removal(run / PREDICTIONS)
    if measured is not None:
        return measured
    try:
        return float(config["compression_ratio"])
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f"{run}: neither {CONFIG} nor {PREDICTIONS} says compression_ratio"
        ) from None


def _measured_removal(file: Path) -> float | None:
    if not file.is_file():
        return None
    csv.field_size_limit(2**26)  # answers can be long
    with file.open(newline="", encoding="utf-8") as lines:
        cells = [row.get("compression_ratio") for row in csv.DictReader(lines)]
    try:
        return statistics.fmean(float(cell) for cell in cells if cell)
    except (ValueError, statistics.StatisticsError):
        return None


def _config(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise ValueError(f"{file} is missing: without it nobody knows what was run")
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    if not isinstance(config, dict) or "press_name" not in config:
        raise ValueError(f"{file} is no configuration of kvpress: it names no press_name")
    return config


def _scores(file: Path) -> dict[str, float]:
    """Numbers by their path; the name of a metric that all parts share is left out."""
    try:
        found = dict(_numbers(json.loads(file.read_text(encoding="utf-8")), ()))
    except json.JSONDecodeError as error:
        raise ValueError(f"{file} is not JSON: {error}") from None
    if not found:
        raise ValueError(f"{file} holds no score")
    last = {path[-1] for path in found}
    shorten = len(last) == 1
    return {".".join(path[:-1] if shorten else path): score for path, score in found.items()}


def _numbers(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], float]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _numbers(inner, (*path, str(key)))
    elif isinstance(value, int | float) and not isinstance(value, bool) and path:
        yield path, float(value)


def _shared(configs: list[dict[str, Any]]) -> dict[str, Any]:
    """Settings in which all runs agree."""
    first = {key: value for key, value in configs[0].items() if key not in _PER_POINT}
    return {
        key: value
        for key, value in first.items()
        if value is not None and all(config.get(key) == value for config in configs)
    }
