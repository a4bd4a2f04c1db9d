"""Trials that measured costs alone: quality, and the compressor's time, may be missing."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

TABLE = "paretoken_measurements"
OPTIONAL = ("quality", "quality_se", "compressor_seconds", "compressor_share")


def upgrade() -> None:
    _set_nullable(nullable=True)


def downgrade() -> None:
    # What an older version cannot hold is measured again.
    costs_alone = f"SELECT trial_id FROM {TABLE} WHERE quality IS NULL"
    op.execute(f"DELETE FROM paretoken_outcomes WHERE trial_id IN ({costs_alone})")
    op.execute(f"UPDATE paretoken_trials SET state = NULL WHERE id IN ({costs_alone})")
    op.execute(f"DELETE FROM {TABLE} WHERE quality IS NULL")
    _set_nullable(nullable=False)


def _set_nullable(nullable: bool) -> None:
    with op.batch_alter_table(TABLE) as table:
        for name in OPTIONAL:
            table.alter_column(name, existing_type=sa.Double(), nullable=nullable)
