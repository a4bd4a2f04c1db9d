"""How our tables came to be, step by step; run by the first connection that finds them old.

Our version table is not MLflow's, whose tables share the database. A new step: add a file to
``versions``, name its revision in :data:`HEAD`; the tests compare the result with the models.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

HEAD = "0014"
"""The newest revision; spares the usual connection the import of Alembic, half a second."""

VERSION_TABLE = "paretoken_alembic_version"


def upgrade(connection: Connection) -> None:
    """Bring our tables to :data:`HEAD` in one transaction; does nothing if they are there.

    Raises ValueError if a newer Paretoken wrote them.
    """
    if revision(connection) == HEAD:
        return
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    connection.rollback()
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise ValueError(f"a newer Paretoken wrote this store: {error}") from error


def revision(connection: Connection) -> str | None:
    """The revision of our tables; None where there are none."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    return None if found is None else str(found)
