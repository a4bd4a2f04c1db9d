"""Statements about results that others measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from methods.naming import unknown
from store.importing.collection import Collection, ImportedPoint
from store.models import Import, ImportedResult


@dataclass(frozen=True, slots=True)
class Imported:
    """An import and where it came from."""

    name: str
    format: str
    path: str
    source: str
    sha256: str
    provenance: dict[str, Any]
    imported_at: datetime
    points: tuple[ImportedPoint, ...]


def add(connection: Connection, name: str, path: str, source: str, collection: Collection) -> bool:
    """Whether the collection is new. Raises ValueError if the name stands for other content."""
    known = select(Import.sha256).where(Import.name == name)
    found = connection.execute(known).scalar_one_or_none()
    if found == collection.sha256:
        return False
    if found is not None:
        raise ValueError(
            f"import {name!r} holds other results: choose another --name, or forget that one first "
            f"with `paretoken imports {name} --forget`"
        )
    row = {
        "name": name,
        "format": collection.format,
        "path": path,
        "source": source,
        "sha256": collection.sha256,
        "provenance": dict(collection.provenance),
        "imported_at": datetime.now(UTC),
    }
    import_id = connection.execute(insert(Import).values(row).returning(Import.id)).scalar_one()
    connection.execute(insert(ImportedResult), _rows(import_id, collection.points))
    return True


def remove(connection: Connection, name: str) -> None:
    """Forget an import and its results. Raises ValueError that names the nearest."""
    gone = connection.execute(delete(Import).where(Import.name == name))
    if not gone.rowcount:
        raise _unknown(connection, name)


def every(connection: Connection) -> list[Imported]:
    """All of them, the latest first."""
    names = connection.execute(select(Import.name).order_by(Import.id.desc()))
    return [one(connection, name) for name in names.scalars().all()]


def one(connection: Connection, name: str) -> Imported:
    """One with its points. Raises ValueError that names the nearest."""
    columns = Import.__table__.columns
    row = connection.execute(select(*columns).where(Import.name == name)).mappings().one_or_none()
    if row is None:
        raise _unknown(connection, name)
    content = dict(row)
    points = _points(connection, content.pop("id"))
    return Imported(**content, points=points)


def _rows(import_id: int, points: Sequence[ImportedPoint]) -> list[dict[str, Any]]:
    return [
        {"import_id": import_id, "position": position, **point.model_dump()}
        for position, point in enumerate(points)
    ]


def _points(connection: Connection, import_id: int) -> tuple[ImportedPoint, ...]:
    columns = [getattr(ImportedResult, name) for name in ImportedPoint.model_fields]
    query = select(*columns).where(ImportedResult.import_id == import_id)
    rows = connection.execute(query.order_by(ImportedResult.position)).mappings()
    return tuple(ImportedPoint.model_validate(dict(row)) for row in rows)


def _unknown(connection: Connection, name: str) -> ValueError:
    names = connection.execute(select(Import.name)).scalars()
    return ValueError(unknown("import", name, names))
