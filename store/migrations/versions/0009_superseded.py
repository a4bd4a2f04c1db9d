"""Trials of a race whose place a trial over more examples has taken."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

TABLE = "paretoken_sweep_trials"


def upgrade() -> None:
    column: sa.Column[bool] = sa.Column(
        "superseded", sa.Boolean(), server_default=sa.false(), nullable=False
    )
    op.add_column(TABLE, column)


def downgrade() -> None:
    op.execute(f"DELETE FROM {TABLE} WHERE superseded")  # the plan without its history
    with op.batch_alter_table(TABLE) as table:
        table.drop_column("superseded")
