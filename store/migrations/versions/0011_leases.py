"""Drivers that run, and what each of them measures."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "paretoken_drivers",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("sweep", sa.String(200), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("process", sa.Text(), nullable=False),
        sa.Column("beat", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_paretoken_drivers"),
    )
    op.create_table(
        "paretoken_leases",
        sa.Column("trial_id", sa.String(16), nullable=False),
        sa.Column("batch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("driver_id", sa.String(32), nullable=False),
        sa.Column("begun", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("trial_id", "batch", name="pk_paretoken_leases"),
        sa.ForeignKeyConstraint(
            ["driver_id"],
            ["paretoken_drivers.id"],
            name="fk_paretoken_leases_driver_id_paretoken_drivers",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_paretoken_leases_driver_id", "paretoken_leases", ["driver_id"])


def downgrade() -> None:
    op.drop_table("paretoken_leases")
    op.drop_table("paretoken_drivers")
