"""Results that others measured, with their provenance."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "paretoken_imports",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("format", sa.String(20), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("provenance", sa.JSON(), nullable=False),
        sa.Column("imported_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_paretoken_imports")),
        sa.UniqueConstraint("name", name=op.f("uq_paretoken_imports_name")),
    )
    op.create_table(
        "paretoken_imported_results",
        sa.Column("import_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("workload", sa.String(200), nullable=False),
        sa.Column("method", sa.String(200), nullable=False),
        sa.Column("keep_ratio", sa.Double(), nullable=False),
        sa.Column("hyperparameters", sa.JSON(), nullable=False),
        sa.Column("schedule", sa.String(200), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=True),
        sa.Column("reported", sa.JSON(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["import_id"],
            ["paretoken_imports.id"],
            name=op.f("fk_paretoken_imported_results_import_id_paretoken_imports"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "import_id", "position", name=op.f("pk_paretoken_imported_results")
        ),
    )


def downgrade() -> None:
    op.drop_table("paretoken_imported_results")
    op.drop_table("paretoken_imports")
