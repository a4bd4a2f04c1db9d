"""Tables that long sweeps are read from lie in the order of their keys, and counts read indices.

On SQLite a row of a table with a key of text lies wherever it was written, and 100,000 of them are
looked up twice each; without a row id it lies where its key is.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

BY_KEY = ("paretoken_sweep_trials", "paretoken_measurements")
TRIALS, TIMINGS = "paretoken_trials", "paretoken_timings"


def upgrade() -> None:
    _lay_out(with_rowid=False)
    op.drop_index("ix_paretoken_trials_id_state", TRIALS)
    op.create_index("ix_paretoken_trials_id_state_batch", TRIALS, ["id", "state", "batch"])
    op.create_index(
        "ix_paretoken_timings_counting",
        TIMINGS,
        ["trial_id", "batch", "failure", "in_lane", "quiet", "id", "latency_pairs"],
    )


def downgrade() -> None:
    op.drop_index("ix_paretoken_timings_counting", TIMINGS)
    op.drop_index("ix_paretoken_trials_id_state_batch", TRIALS)
    op.create_index("ix_paretoken_trials_id_state", TRIALS, ["id", "state"])
    _lay_out(with_rowid=True)


def _lay_out(with_rowid: bool) -> None:
    if op.get_bind().dialect.name != "sqlite":
        return
    for table in BY_KEY:
        written = sa.Table(table, sa.MetaData(), autoload_with=op.get_bind())
        written.dialect_options["sqlite"]["with_rowid"] = with_rowid
        with op.batch_alter_table(table, copy_from=written, recreate="always"):
            pass
