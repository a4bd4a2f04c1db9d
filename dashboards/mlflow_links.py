"""Deep links into a running MLflow server: runs of sweeps, and views of their workloads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx

from store.mirror.mlflow_words import EXPERIMENT, VIEW_TAG, view_key
from store.repository import Store

_MOST_RUNS = 10
"""Sweeps whose runs are linked one by one."""
_CHARTS = "compareRunsMode=CHART"
"""Figures beside the list of runs, in MLflow's addresses."""


def links(store_url: str, base: str) -> Iterator[str]:
    """One line per place worth opening on a running server of the store: runs, then views."""
    workloads = _workloads(store_url)
    with httpx.Client(base_url=f"{base}/api/2.0/mlflow", timeout=30, trust_env=False) as client:
        answer = client.get("/experiments/get-by-name", params={"experiment_name": EXPERIMENT})
        if answer.status_code == httpx.codes.NOT_FOUND:
            yield f"MLflow: {base} (nothing is mirrored yet: run the sweep again)"
            return
        experiment = answer.raise_for_status().json()["experiment"]
        place = f"{base}/#/experiments/{experiment['experiment_id']}/runs"
        yield f"All trials: {place}"
        saved = {tag["key"] for tag in experiment.get("tags", ())}
        for run in _sweep_runs(client, experiment["experiment_id"]):
            name, run_id = run["info"]["run_name"], run["info"]["run_id"]
            yield f"Sweep {name}: {place}/{run_id}"
            for workload in workloads.get(name, ()):
                key = view_key(name, workload)
                if VIEW_TAG + key in saved:
                    yield f"  {workload}: {place}?viewStateShareKey={key}&{_CHARTS}"


def _sweep_runs(client: httpx.Client, experiment: str) -> list[dict[str, Any]]:
    query = {
        "experiment_ids": [experiment],
        "filter": "tags.kind = 'sweep'",
        "max_results": _MOST_RUNS,
    }
    answer = client.post("/runs/search", json=query).raise_for_status().json()
    return list(answer.get("runs", ()))


def _workloads(url: str) -> dict[str, list[str]]:
    with Store(url) as store:
        latest = [status.name for status in store.sweeps()[:_MOST_RUNS]]
        return {name: list(store.objectives(name)) for name in latest}
