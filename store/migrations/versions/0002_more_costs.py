"""Costs of methods that reduce no tokens, and which costs are only simulated.

Trials measured before had whole weights and decoded one token per step.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

TABLE = "paretoken_measurements"


def upgrade() -> None:
    with op.batch_alter_table(TABLE) as table:
        table.add_column(sa.Column("weights", sa.Double(), nullable=False, server_default="1"))
        table.add_column(
            sa.Column("weight_bytes", sa.BigInteger(), nullable=False, server_default="0")
        )
        table.add_column(sa.Column("attended", sa.Double(), nullable=True))
        table.add_column(sa.Column("steps", sa.Double(), nullable=True))
        table.add_column(
            sa.Column("simulated", sa.JSON(), nullable=False, server_default=sa.text("'[]'"))
        )


def downgrade() -> None:
    with op.batch_alter_table(TABLE) as table:
        for name in ("simulated", "steps", "attended", "weight_bytes", "weights"):
            table.drop_column(name)
