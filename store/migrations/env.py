"""Alembic's way in; the connection comes from :func:`store.migrations.upgrade`."""

from alembic import context

from store.migrations import VERSION_TABLE
from store.models import Base

connection = context.config.attributes["connection"]
context.configure(
    connection=connection.execution_options(immediate=True),
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
