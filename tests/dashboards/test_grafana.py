"""The Grafana dashboard asks for nothing that a sweep, Ray or a server does not export."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import httpx
import pytest
import ray
import yaml
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client.parser import text_string_to_metric_families
from ray.dashboard.modules.reporter.reporter_agent import METRICS_GAUGES

from dashboards.grafana.generate import FILE, ROWS, expressions, generated
from orchestrator.cluster.connection import cluster
from orchestrator.engine.crew import Resources
from orchestrator.engine.gauges import Gauges
from orchestrator.engine.pool import run_pool
from orchestrator.serving.observed import Numbers, Observation
from orchestrator.serving.plan import Served
from store.releases.release import release_of
from store.repository import Store
from tests.orchestrator.ledgers import plan
from tests.orchestrator.trials import specs
from tests.store import asked

PATIENCE_S = 60.0


def wanted(prefix: str) -> set[str]:
    """Names in the dashboard's queries that begin like this."""
    found = {name for each in expressions() for name in re.findall(r"\b[a-z_]+\b", each)}
    return {name for name in found if name.startswith(prefix)}


def exported(page: str) -> set[str]:
    families = text_string_to_metric_families(page)
    return {sample.name for family in families for sample in family.samples}


def test_the_dashboard_is_what_the_generator_writes_and_grafana_reads_it() -> None:
    text = FILE.read_text()
    assert text == generated(), "python -m dashboards.grafana.generate"
    board = Dashboard.from_json(json.loads(text))
    assert board.title == "Paretoken"
    assert [row.title for row in board.panels or [] if row.type_val == "row"] == [*ROWS]
    sources = re.findall(r'"uid": "([^"]+)"', text)
    assert set(sources) == {"paretoken", "${source}"}


def test_provisioning_files_are_yaml_that_names_the_dashboards_source() -> None:
    folder = FILE.parent / "provisioning"
    files = {file.stem: yaml.safe_load(file.read_text()) for file in folder.glob("*.yaml")}
    (source,) = files["datasources"]["datasources"]
    assert source["type"] == "prometheus"
    assert files["dashboards"]["providers"][0]["type"] == "file"
    jobs = {job["job_name"] for job in files["prometheus"]["scrape_configs"]}
    assert jobs == {"ray", "paretoken-serve"}


def test_a_server_exports_what_is_asked_of_it(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path}/paretoken.db") as store:
        release = release_of(store, asked.record(store))
    numbers, served = Numbers(), Served(3, release)
    numbers.describe([(served, 1.0)])
    workload = release.workloads[0]
    point = workload.configurations[0].trial
    for status in (200, 404, 500):
        seen = Observation(3, workload.name, point, status, tokens_in=8, tokens_out=2)
        numbers.count("/v1/predict", seen, 0.1)
    names = exported(bytes(numbers.page().body).decode())
    assert wanted("paretoken_") <= names


@pytest.mark.timeout(300)
def test_a_running_sweep_and_ray_export_what_is_asked_of_them(tmp_path: Path) -> None:
    url, planned = f"sqlite:///{tmp_path}/results.db", specs(8, backbones=1)
    gauges = Gauges("engine")
    plan(url, planned)
    with cluster(num_cpus=1):
        run_pool(
            planned,
            url,
            resources=Resources(cpus=0.5, workers=1),
            runner="tests.orchestrator.trials:measure",
            ledger="tests.orchestrator.ledgers:SqlLedger",
            on_event=gauges.update,
        )
        gauges.count_timing()
        place = f"http://127.0.0.1:{ray.nodes()[0]['MetricsExportPort']}/metrics"
        on_gpus = {
            f"ray_{name}" for name in METRICS_GAUGES if name.startswith(("node_gp", "node_gr"))
        }
        missing, deadline = wanted("ray_"), time.monotonic() + PATIENCE_S
        while missing - on_gpus and time.monotonic() < deadline:
            time.sleep(0.5)
            page = httpx.get(place, trust_env=False, timeout=30).text
            missing = wanted("ray_") - exported(page)
    assert missing <= on_gpus
    ended = [line for line in page.splitlines() if line.startswith("ray_paretoken_trials_total")]
    (line,) = ended
    assert line.endswith(" 8.0")
    assert 'sweep="engine"' in line
    assert 'state="finished"' in line
