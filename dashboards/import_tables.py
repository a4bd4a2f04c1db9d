"""Tables of results that others measured, always with where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from dashboards.fitting import Column, FittingTable, properties
from dashboards.rows import by_workload
from methods.naming import settings

if TYPE_CHECKING:
    from store.importing.collection import ImportedPoint
    from store.sql.imports import Imported
    from sweeps.metrics import Direction

Judged = list[tuple["ImportedPoint", bool]]
"""Points of an import, and whether each is on the frontier of its workload."""
_SHORT = 12


def summary(imported: Imported) -> dict[str, Any]:
    """One import without its points, as a JSON object."""
    return {
        "name": imported.name,
        "format": imported.format,
        "source": imported.source,
        "path": imported.path,
        "sha256": imported.sha256,
        "imported": imported.imported_at.isoformat(),
        "provenance": imported.provenance,
        "workloads": sorted({point.workload for point in imported.points}),
        "methods": sorted({point.method for point in imported.points}),
        "results": len(imported.points),
    }


def imports_table(imports: Sequence[Imported]) -> RenderableType:
    """One line per import."""
    if not imports:
        return Text("Nothing imported: paretoken import FILE --source WHO")
    columns = [
        Column("import", [each.name for each in imports], justify="left", folds=True),
        Column("results", [f"{len(each.points):,}" for each in imports]),
        Column("workloads", [str(len({p.workload for p in each.points})) for each in imports], 80),
        Column("methods", [str(len({p.method for p in each.points})) for each in imports], 80),
        Column("format", [each.format for each in imports], 60, "left"),
        Column("source", [each.source for each in imports], justify="left", folds=True),
        Column("imported (UTC)", [f"{e.imported_at:%Y-%m-%d %H:%M}" for e in imports], 50, "left"),
    ]
    return FittingTable("Imported results, not measured here", columns)


def judge(
    imported: Imported,
    cost: str,
    better: Direction,
    maximum: Mapping[str, float],
    minimum: Mapping[str, float],
) -> Judged:
    """Every point by workload, the frontier's marked. Raises ValueError for unknown metrics."""
    from store.frontiers.frontier import select

    objectives = {"quality": better, cost: "minimize"}
    judged: Judged = []
    for members in by_workload(imported.points).values():
        best = {id(point) for point in select(members, objectives, maximum, minimum)}
        judged += [(point, id(point) in best) for point in members]
    return judged


def points_json(imported: Imported, judged: Judged) -> dict[str, Any]:
    """An import with its points, as one JSON object."""
    points = [{**point.model_dump(), "on_frontier": is_best} for point, is_best in judged]
    return {**summary(imported), "points": points}


def import_page(imported: Imported, judged: Judged, cost: str) -> RenderableType:
    """Where it comes from, then a table per workload, by rising quality."""
    facts = {
        "import": imported.name,
        "source": imported.source,
        "read from": f"{imported.path} ({imported.format}, sha256 {imported.sha256[:_SHORT]})",
        "imported": f"{imported.imported_at:%Y-%m-%d %H:%M} UTC",
        "settings": settings(imported.provenance),
    }
    on_frontier = {id(point) for point, is_best in judged if is_best}
    tables = [
        _workload_table(workload, members, on_frontier, cost)
        for workload, members in by_workload(point for point, _ in judged).items()
    ]
    note = (
        f"* on the frontier of quality and {cost} within this import alone: imported numbers are "
        "never mixed with measured."
        if on_frontier
        else f"None is on a frontier of quality and {cost} here (--cost, --max, --min)."
    )
    return Group(properties(facts), *tables, Text(note))


def _workload_table(
    workload: str, points: Sequence[ImportedPoint], on_frontier: set[int], cost: str
) -> FittingTable:
    ordered = sorted(points, key=lambda point: point.reported["quality"])
    named = [name for name in points[0].metrics if any(name in p.reported for p in points)]
    others = [name for name in named if name not in ("quality", cost)]
    columns = [
        Column("", ["*" if id(point) in on_frontier else " " for point in ordered]),
        Column("method", [point.method for point in ordered], justify="left"),
        Column("keep", [f"{point.keep_ratio:.3g}" for point in ordered]),
        Column("schedule", [point.schedule for point in ordered], 70, "left"),
        Column("quality", [_number(point, "quality") for point in ordered]),
        Column(cost, [_number(point, cost) for point in ordered]),
        *(Column(name, [_number(point, name) for point in ordered], 60) for name in others),
        Column("origin", [point.origin for point in ordered], 40, "left"),
    ]
    return FittingTable(workload, columns)


def _number(point: ImportedPoint, name: str) -> str:
    value = point.reported.get(name)
    return "" if value is None else f"{value:.4g}"
