"""Writes ``paretoken.json``: ``python -m dashboards.grafana.generate``, with the development tools.

Built with Grafana's own SDK, which knows the schema. Numbers of sweeps come from the driver through
Ray's metrics port (:mod:`orchestrator.engine.gauges`), numbers of points from ``/metrics`` of
``paretoken serve``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.builders import dashboard, prometheus, timeseries
from grafana_foundation_sdk.builders.common import VizLegendOptions
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import DataSourceRef

FILE: Final = Path(__file__).with_name("paretoken.json")
_SOURCE: Final = "${source}"
_SWEEP: Final = '{sweep=~"$sweep"}'
_SECONDS: Final = "paretoken_request_seconds_bucket"
_WORKLOAD: Final = 'workload=~"$workload"'

_Queries = Mapping[str, str]
"""Expressions by legend."""
_SWEEPS: Final[Mapping[tuple[str, str], _Queries]] = {
    ("Trials per second", "ops"): {
        "{{sweep}} {{state}}": "sum by (sweep, state)"
        f" (rate(ray_paretoken_trials_total{_SWEEP}[1m]))",
    },
    ("Utilisation", "percentunit"): {
        "{{sweep}}": f"sum by (sweep) (rate(ray_paretoken_busy_seconds_total{_SWEEP}[1m]))"
        f" / sum by (sweep) (ray_paretoken_workers{_SWEEP})",
    },
    ("Trials waiting, workers", "short"): {
        "{{sweep}} waiting": f"ray_paretoken_queued{_SWEEP}",
        "{{sweep}} workers": f"ray_paretoken_workers{_SWEEP}",
    },
    ("Writer's lag, results", "short"): {
        "{{sweep}} not durable yet": f"ray_paretoken_unrecorded{_SWEEP}",
    },
    ("Told to MLflow per second", "ops"): {
        "{{sweep}}": f"deriv(ray_paretoken_mirrored{_SWEEP}[1m])",
    },
    ("Timings per second", "ops"): {
        "{{sweep}}": f"sum by (sweep) (rate(ray_paretoken_timings_total{_SWEEP}[1m]))",
    },
}
_CLUSTER: Final[Mapping[tuple[str, str], _Queries]] = {
    ("CPU", "percent"): {"{{NodeAddress}}": "ray_node_cpu_utilization"},
    ("Memory", "percentunit"): {
        "{{NodeAddress}}": "ray_node_mem_used / ray_node_mem_total",
    },
    ("GPU", "percent"): {
        "{{NodeAddress}} {{GpuIndex}}": "ray_node_gpus_utilization",
    },
    ("GPU memory", "decmbytes"): {
        "{{NodeAddress}} {{GpuIndex}}": "ray_node_gram_used",
    },
    ("Nodes", "short"): {"nodes": "ray_cluster_active_nodes"},
    ("Ray tasks", "short"): {"{{State}}": "sum by (State) (ray_tasks)"},
    ("Object store", "bytes"): {"{{Location}}": "sum by (Location) (ray_object_store_memory)"},
}
_SERVING: Final[Mapping[tuple[str, str], _Queries]] = {
    ("Requests per second, by point", "reqps"): {
        "{{workload}} {{point}}": "sum by (workload, point)"
        f" (rate(paretoken_requests_total{{{_WORKLOAD}}}[1m]))",
    },
    ("Latency, by point", "s"): {
        f"{{{{workload}}}} {{{{point}}}} {name}": f"histogram_quantile({share},"
        f" sum by (le, workload, point) (rate({_SECONDS}{{{_WORKLOAD}}}[5m])))"
        for name, share in {"median": 0.5, "p95": 0.95, "p99": 0.99}.items()
    },
    ("Errors and refusals per second", "reqps"): {
        "errors {{workload}} {{point}}": "sum by (workload, point)"
        f" (rate(paretoken_errors_total{{{_WORKLOAD}}}[1m]))",
        "refused {{endpoint}} {{status}}": "sum by (endpoint, status)"
        " (rate(paretoken_refused_total[1m]))",
    },
    ("Tokens per second", "short"): {
        f"{{{{workload}}}} {name}": "sum by (workload)"
        f" (rate(paretoken_tokens_{name}_total{{{_WORKLOAD}}}[1m]))"
        for name in ("in", "kept", "out")
    },
    ("Quality of what was answered, as measured", "percentunit"): {
        "{{workload}}": "sum by (workload) (sum by (workload, point)"
        f" (rate(paretoken_requests_total{{{_WORKLOAD}}}[5m])) * on (workload, point)"
        " paretoken_expected_quality) / sum by (workload)"
        f" (rate(paretoken_requests_total{{{_WORKLOAD}}}[5m]))",
    },
    ("Cost of the points, as measured", "percentunit"): {
        "{{workload}} {{point}} {{metric}}": f"paretoken_expected_cost{{{_WORKLOAD}}}",
    },
}
ROWS: Final = {"Sweeps": _SWEEPS, "Cluster": _CLUSTER, "Serving": _SERVING}


def expressions() -> list[str]:
    """Every query of the dashboard."""
    panels = (queries for row in ROWS.values() for queries in row.values())
    return [expression for queries in panels for expression in queries.values()]


def generated() -> str:
    """The dashboard as JSON."""
    board = (
        dashboard.Dashboard("Paretoken")
        .uid("paretoken")
        .tags(["paretoken", "ray"])
        .refresh("10s")
        .time("now-30m", "now")
        .readonly()
        .with_variable(
            dashboard.DatasourceVariable("source").label("Prometheus").type("prometheus")
        )
        .with_variable(_labels("sweep", "ray_paretoken_workers"))
        .with_variable(_labels("workload", "paretoken_expected_quality"))
    )
    for title, panels in ROWS.items():
        board = board.with_row(dashboard.Row(title))
        for (name, unit), queries in panels.items():
            board = board.with_panel(_panel(name, unit, queries))
    return JSONEncoder(sort_keys=True, indent=2).encode(board.build()) + "\n"


def _labels(name: str, metric: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .datasource(_source())
        .query(f"label_values({metric}, {name})")
        .multi(True)
        .include_all(True)
        .all_value(".*")
    )


def _panel(title: str, unit: str, queries: _Queries) -> timeseries.Panel:
    panel = (
        timeseries.Panel()
        .title(title)
        .unit(unit)
        .min(0)
        .span(8)
        .height(7)
        .datasource(_source())
        .legend(
            VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
        )
    )
    for legend, expression in queries.items():
        panel = panel.with_target(
            prometheus.Dataquery().expr(expression).legend_format(legend).range()
        )
    return panel


def _source() -> DataSourceRef:
    return DataSourceRef(type_val="prometheus", uid=_SOURCE)


if __name__ == "__main__":
    FILE.write_text(generated(), encoding="utf-8")
