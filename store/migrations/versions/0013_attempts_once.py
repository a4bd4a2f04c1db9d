"""An attempt is there once, however often its writer is killed right after recording it."""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"

ATTEMPTS, TRIAL = "paretoken_attempts", "ix_paretoken_attempts_trial_id"
KEY = ["trial_id", "started_at", "worker"]
ONCE = f"uq_{ATTEMPTS}_{'_'.join(KEY)}"


def upgrade() -> None:
    first = f"SELECT min(id) FROM {ATTEMPTS} GROUP BY {', '.join(KEY)}"
    op.execute(f"DELETE FROM {ATTEMPTS} WHERE id NOT IN ({first})")
    with op.batch_alter_table(ATTEMPTS) as table:
        table.create_unique_constraint(ONCE, KEY)
        table.drop_index(TRIAL)  # the key begins with it


def downgrade() -> None:
    with op.batch_alter_table(ATTEMPTS) as table:
        table.create_index(TRIAL, ["trial_id"])
        table.drop_constraint(ONCE, type_="unique")
