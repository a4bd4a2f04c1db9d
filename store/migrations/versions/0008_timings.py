"""Times in a table of their own, every repetition of them, with where and how they were taken.

Times of older versions were taken while other trials ran: they are kept as such.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0004"

TABLE = "paretoken_timings"
MEASUREMENTS = "paretoken_measurements"
MOVED = (
    "compressor_seconds",
    "compressor_share",
    "latency",
    "latency_low",
    "latency_high",
    "latency_seconds",
)
NEW = (
    "latency_confidence",
    "latency_p95",
    "latency_p95_seconds",
    "baseline_seconds",
    "device_memory",
    "energy",
    "energy_joules",
)
COSTS_COUNTED_ON = {
    "sqlite": "json_extract(spec, '$.measure.latency_batch')",
    "postgresql": "CAST(spec -> 'measure' ->> 'latency_batch' AS INTEGER)",
}


def upgrade() -> None:
    batch = COSTS_COUNTED_ON[op.get_bind().dialect.name]
    op.add_column(
        "paretoken_trials", sa.Column("batch", sa.Integer(), nullable=False, server_default="8")
    )
    op.execute(f"UPDATE paretoken_trials SET batch = COALESCE({batch}, 8)")
    op.create_table(
        TABLE,
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.String(16), nullable=False),
        sa.Column("batch", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("in_lane", sa.Boolean(), nullable=False),
        sa.Column("quiet", sa.Boolean(), nullable=False),
        sa.Column("disturbed", sa.JSON(), nullable=False),
        sa.Column("conditions", sa.JSON(), nullable=False),
        sa.Column("failure", sa.String(20), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("environment_id", sa.String(16), nullable=False),
        sa.Column("latency_pairs", sa.Integer(), nullable=True),
        sa.Column("device_bytes", sa.BigInteger(), nullable=True),
        *(sa.Column(name, sa.Double(), nullable=True) for name in (*MOVED, *NEW)),
        sa.PrimaryKeyConstraint("id", name=f"pk_{TABLE}"),
        sa.ForeignKeyConstraint(["trial_id"], ["paretoken_trials.id"], name=f"fk_{TABLE}_trial_id"),
        sa.ForeignKeyConstraint(
            ["environment_id"], ["paretoken_environments.id"], name=f"fk_{TABLE}_environment_id"
        ),
        sa.UniqueConstraint(
            *("trial_id", "batch", "started_at", "worker"),
            name=f"uq_{TABLE}_trial_id_batch_started_at_worker",
        ),
    )
    _move_in()
    with op.batch_alter_table(MEASUREMENTS) as table:
        for name in MOVED:
            table.drop_column(name)


def downgrade() -> None:
    with op.batch_alter_table(MEASUREMENTS) as table:
        for name in MOVED:
            table.add_column(sa.Column(name, sa.Double(), nullable=True))
    _move_back()
    op.execute("DELETE FROM paretoken_outbox WHERE kind = 'trial-timed'")
    op.drop_table(TABLE)
    with op.batch_alter_table("paretoken_trials") as table:
        table.drop_column("batch")


def _move_in() -> None:
    """What trials timed themselves goes with the attempt that finished them."""
    columns = ", ".join(MOVED)
    timed = " OR ".join(f"m.{name} IS NOT NULL" for name in MOVED)
    op.execute(
        f"""
        INSERT INTO {TABLE} (trial_id, batch, started_at, seconds, worker, device, in_lane, quiet,
            disturbed, conditions, environment_id, {columns})
        SELECT a.trial_id, t.batch, a.started_at, a.seconds, a.worker, a.worker, FALSE, FALSE,
            '[]', '{{}}', a.environment_id, {columns}
        FROM {MEASUREMENTS} m
        JOIN paretoken_trials t ON t.id = m.trial_id
        JOIN paretoken_attempts a ON a.id = (
            SELECT max(id) FROM paretoken_attempts
            WHERE trial_id = m.trial_id AND state = 'finished')
        WHERE {timed}
        """
    )


def _move_back() -> None:
    """The newest of each trial, wherever it was taken."""
    newest = (
        f"SELECT max(n.id) FROM {TABLE} n JOIN paretoken_trials t ON t.id = n.trial_id "
        f"WHERE n.trial_id = {MEASUREMENTS}.trial_id AND n.batch = t.batch AND n.failure IS NULL"
    )
    for name in MOVED:
        op.execute(
            f"UPDATE {MEASUREMENTS} SET {name} = "
            f"(SELECT s.{name} FROM {TABLE} s WHERE s.id = ({newest}))"
        )
