"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "paretoken_environments",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_paretoken_environments")),
    )
    op.create_table(
        "paretoken_sweeps",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("yaml", sa.Text(), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("utilisation", sa.Double(), nullable=True),
        sa.Column("counts", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_paretoken_sweeps")),
        sa.UniqueConstraint("name", name=op.f("uq_paretoken_sweeps_name")),
    )
    op.create_table(
        "paretoken_trials",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("task", sa.String(length=200), nullable=False),
        sa.Column("backbone", sa.Text(), nullable=False),
        sa.Column("method", sa.String(length=200), nullable=False),
        sa.Column("hyperparameters", sa.JSON(), nullable=False),
        sa.Column("schedule", sa.String(length=200), nullable=False),
        sa.Column("keep_ratio", sa.Double(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_paretoken_trials")),
    )
    op.create_index(
        op.f("ix_paretoken_trials_id_state"), "paretoken_trials", ["id", "state"], unique=False
    )
    op.create_table(
        "paretoken_attempts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("failure", sa.String(length=20), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("environment_id", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(
            ["environment_id"],
            ["paretoken_environments.id"],
            name=op.f("fk_paretoken_attempts_environment_id"),
        ),
        sa.ForeignKeyConstraint(
            ["trial_id"], ["paretoken_trials.id"], name=op.f("fk_paretoken_attempts_trial_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_paretoken_attempts")),
    )
    op.create_index(
        op.f("ix_paretoken_attempts_trial_id"), "paretoken_attempts", ["trial_id"], unique=False
    )
    op.create_table(
        "paretoken_impossible",
        sa.Column("sweep_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("combination", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["sweep_id"],
            ["paretoken_sweeps.id"],
            name=op.f("fk_paretoken_impossible_sweep_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("sweep_id", "position", name=op.f("pk_paretoken_impossible")),
    )
    op.create_table(
        "paretoken_measurements",
        sa.Column("trial_id", sa.String(length=16), nullable=False),
        sa.Column("quality", sa.Double(), nullable=False),
        sa.Column("quality_se", sa.Double(), nullable=False),
        sa.Column("num_examples", sa.Integer(), nullable=False),
        sa.Column("tokens", sa.Double(), nullable=False),
        sa.Column("tokens_per_layer", sa.JSON(), nullable=False),
        sa.Column("flops", sa.Double(), nullable=False),
        sa.Column("flops_per_example", sa.Double(), nullable=False),
        sa.Column("kv", sa.Double(), nullable=True),
        sa.Column("kv_bytes", sa.BigInteger(), nullable=True),
        sa.Column("peak_memory", sa.Double(), nullable=False),
        sa.Column("peak_bytes", sa.BigInteger(), nullable=False),
        sa.Column("compressor_seconds", sa.Double(), nullable=False),
        sa.Column("compressor_share", sa.Double(), nullable=False),
        sa.Column("latency", sa.Double(), nullable=True),
        sa.Column("latency_low", sa.Double(), nullable=True),
        sa.Column("latency_high", sa.Double(), nullable=True),
        sa.Column("latency_seconds", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["trial_id"], ["paretoken_trials.id"], name=op.f("fk_paretoken_measurements_trial_id")
        ),
        sa.PrimaryKeyConstraint("trial_id", name=op.f("pk_paretoken_measurements")),
    )
    op.create_table(
        "paretoken_mlflow_runs",
        sa.Column("sweep_id", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.String(length=16), nullable=False),
        sa.Column("run_id", sa.String(length=32), nullable=True),
        sa.ForeignKeyConstraint(
            ["sweep_id"],
            ["paretoken_sweeps.id"],
            name=op.f("fk_paretoken_mlflow_runs_sweep_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("sweep_id", "trial_id", name=op.f("pk_paretoken_mlflow_runs")),
    )
    op.create_table(
        "paretoken_outbox",
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("sweep_id", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.String(length=16), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["sweep_id"],
            ["paretoken_sweeps.id"],
            name=op.f("fk_paretoken_outbox_sweep_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["trial_id"], ["paretoken_trials.id"], name=op.f("fk_paretoken_outbox_trial_id")
        ),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_paretoken_outbox")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_paretoken_outbox_pending",
        "paretoken_outbox",
        ["sequence"],
        unique=False,
        sqlite_where=sa.text("done_at IS NULL"),
        postgresql_where=sa.text("done_at IS NULL"),
    )
    op.create_index(
        op.f("ix_paretoken_outbox_sweep_id_trial_id"),
        "paretoken_outbox",
        ["sweep_id", "trial_id"],
        unique=False,
    )
    op.create_table(
        "paretoken_outcomes",
        sa.Column("trial_id", sa.String(length=16), nullable=False),
        sa.Column("parquet", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["trial_id"], ["paretoken_trials.id"], name=op.f("fk_paretoken_outcomes_trial_id")
        ),
        sa.PrimaryKeyConstraint("trial_id", name=op.f("pk_paretoken_outcomes")),
    )
    op.create_table(
        "paretoken_sweep_trials",
        sa.Column("sweep_id", sa.Integer(), nullable=False),
        sa.Column("workload", sa.String(length=200), nullable=False),
        sa.Column("trial_id", sa.String(length=16), nullable=False),
        sa.Column("keep_label", sa.String(length=200), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["sweep_id"],
            ["paretoken_sweeps.id"],
            name=op.f("fk_paretoken_sweep_trials_sweep_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["trial_id"], ["paretoken_trials.id"], name=op.f("fk_paretoken_sweep_trials_trial_id")
        ),
        sa.PrimaryKeyConstraint(
            "sweep_id", "workload", "trial_id", name=op.f("pk_paretoken_sweep_trials")
        ),
    )
    op.create_index(
        op.f("ix_paretoken_sweep_trials_trial_id"),
        "paretoken_sweep_trials",
        ["trial_id"],
        unique=False,
    )
