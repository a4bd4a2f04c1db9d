"""Where attempts ran, what was done after those that failed, and impossible trials told apart."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

ATTEMPTS, TRIALS = "paretoken_attempts", "paretoken_trials"
LAST = f"SELECT max(id) FROM {ATTEMPTS} WHERE trial_id = {TRIALS}.id"


def upgrade() -> None:
    op.add_column(ATTEMPTS, sa.Column("device", sa.Text(), nullable=True))
    op.add_column(ATTEMPTS, sa.Column("remedy", sa.String(20), nullable=True))
    failed = sa.text("failure IS NOT NULL")
    op.create_index(
        "ix_paretoken_attempts_failed",
        ATTEMPTS,
        ["trial_id"],
        sqlite_where=failed,
        postgresql_where=failed,
    )
    op.execute(
        f"UPDATE {TRIALS} SET state = 'infeasible' WHERE state = 'failed' AND "
        f"(SELECT failure FROM {ATTEMPTS} WHERE id = ({LAST})) = 'infeasible'"
    )


def downgrade() -> None:
    op.execute(f"UPDATE {TRIALS} SET state = 'failed' WHERE state = 'infeasible'")
    op.execute(f"UPDATE {ATTEMPTS} SET state = 'failed' WHERE state = 'infeasible'")
    for name in (ATTEMPTS, "paretoken_timings"):
        op.execute(f"UPDATE {name} SET failure = 'infeasible' WHERE failure = 'missing-here'")
        op.execute(f"UPDATE {name} SET failure = 'worker-died' WHERE failure = 'device-fault'")
    op.drop_index("ix_paretoken_attempts_failed", ATTEMPTS)
    with op.batch_alter_table(ATTEMPTS) as table:
        table.drop_column("remedy")
        table.drop_column("device")
