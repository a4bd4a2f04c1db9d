"""Releases of sweeps, and the ledger of their steps."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

RELEASES, STEPS = "paretoken_releases", "paretoken_release_steps"


def upgrade() -> None:
    op.create_table(
        RELEASES,
        sa.Column("sweep", sa.String(200), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("digest", sa.String(16), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("environment", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sweep", "number", name="pk_paretoken_releases"),
    )
    op.create_table(
        STEPS,
        sa.Column("sweep", sa.String(200), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("step", sa.String(20), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("sweep", "sequence", name="pk_paretoken_release_steps"),
    )


def downgrade() -> None:
    op.drop_table(STEPS)
    op.drop_table(RELEASES)
