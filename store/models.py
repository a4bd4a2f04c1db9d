"""Tables: what was planned, what happened, what is still to be mirrored.

Only this package reads or writes them, with plain queries; there are no relationships, so nothing
can be loaded lazily. Names carry a prefix because MLflow's tables live in the same database.
Changing a table takes a migration in ``store/migrations``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Enum,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from store.releases.line import Step
from sweeps.failures import FailureKind, Remedy
from sweeps.trial import TrialState


class OutboxKind(StrEnum):
    """What the mirror has to be told."""

    SWEEP_BEGUN = "sweep-begun"
    TRIAL_FINISHED = "trial-finished"
    TRIAL_FAILED = "trial-failed"
    TRIAL_TIMED = "trial-timed"
    SWEEP_ENDED = "sweep-ended"


class UtcDateTime(TypeDecorator[datetime]):
    """Aware datetimes in UTC, on databases that keep no time zone too."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _: Dialect) -> datetime | None:
        """Convert to UTC; naive times are a bug."""
        if value is None:
            return None
        assert value.tzinfo is not None, "times in the store are aware"
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, _: Dialect) -> datetime | None:
        """Say that what SQLite gives back is UTC."""
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def _by_value(enum: type[StrEnum]) -> Enum:
    return Enum(enum, native_enum=False, length=20, values_callable=lambda e: [m.value for m in e])


_BY_KEY = {"sqlite_with_rowid": False}
"""100,000 rows in the order of their keys are read in a third of the time."""


class Base(DeclarativeBase):
    """All tables of the store."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcDateTime(),
        dict[str, Any]: JSON(),
        TrialState: _by_value(TrialState),
        FailureKind: _by_value(FailureKind),
        Remedy: _by_value(Remedy),
        OutboxKind: _by_value(OutboxKind),
        Step: _by_value(Step),
    }


class Sweep(Base):
    """A sweep by name: what was asked, and how its last run went."""

    __tablename__ = "paretoken_sweeps"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    yaml: Mapped[str] = mapped_column(Text)
    spec: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    seconds: Mapped[float | None]
    """Wall time of the last run that ended; None before."""
    utilisation: Mapped[float | None]
    """Model compute / (wall x workers) of that run, in [0, 1]; None if it measured nothing."""
    counts: Mapped[dict[str, Any] | None]
    """Reused, measured, failed ... of that run."""


class Trial(Base):
    """One spec. ``state`` is None until an attempt has ended; finished is final."""

    __tablename__ = "paretoken_trials"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    task: Mapped[str] = mapped_column(String(200))
    backbone: Mapped[str] = mapped_column(Text)
    method: Mapped[str] = mapped_column(String(200))
    hyperparameters: Mapped[dict[str, Any]]
    schedule: Mapped[str] = mapped_column(String(200))
    keep_ratio: Mapped[float]
    """Nominal fraction kept, in (0, 1]."""
    seed: Mapped[int] = mapped_column(BigInteger)
    batch: Mapped[int]
    """Examples that costs were counted on; timings at this batch size are the point's."""
    spec: Mapped[dict[str, Any]]
    state: Mapped[TrialState | None]

    # counts are made from it, instead of the wide rows
    __table_args__ = (Index("ix_paretoken_trials_id_state_batch", "id", "state", "batch"),)


class Driver(Base):
    """A run of a sweep that is under way, or that died and was not yet found dead."""

    __tablename__ = "paretoken_drivers"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    sweep: Mapped[str] = mapped_column(String(200))
    name: Mapped[str] = mapped_column(Text)
    """Host and process, for people."""
    place: Mapped[str] = mapped_column(Text)
    """Machine, since it was started, and namespace: where ``process`` can be looked up."""
    process: Mapped[str] = mapped_column(Text)
    beat: Mapped[int] = mapped_column(BigInteger)
    """Grows while the driver lives."""
    started_at: Mapped[datetime]


class Lease(Base):
    """A trial, or a timing of it, that one driver measures and no other may."""

    __tablename__ = "paretoken_leases"

    trial_id: Mapped[str] = mapped_column(String(16), primary_key=True)
    batch: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """Examples of the timing; 0 is the trial itself."""
    driver_id: Mapped[str] = mapped_column(
        ForeignKey("paretoken_drivers.id", ondelete="CASCADE"), index=True
    )
    begun: Mapped[bool]
    """Whether a worker has been given it."""


class SweepTrial(Base):
    """A trial's place in a sweep's current plan."""

    __tablename__ = "paretoken_sweep_trials"

    sweep_id: Mapped[int] = mapped_column(
        ForeignKey("paretoken_sweeps.id", ondelete="CASCADE"), primary_key=True
    )
    workload: Mapped[str] = mapped_column(String(200), primary_key=True)
    trial_id: Mapped[str] = mapped_column(
        ForeignKey("paretoken_trials.id"), primary_key=True, index=True
    )
    keep_label: Mapped[str] = mapped_column(String(200))
    """The keep ratio as the user wrote it."""
    position: Mapped[int]
    superseded: Mapped[bool] = mapped_column(server_default=false(), default=False)
    """Whether a trial over more examples stands in its place; then it counts no more."""

    __table_args__ = _BY_KEY


class Impossible(Base):
    """A combination that cannot run, with the reason."""

    __tablename__ = "paretoken_impossible"

    sweep_id: Mapped[int] = mapped_column(
        ForeignKey("paretoken_sweeps.id", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(primary_key=True)
    combination: Mapped[dict[str, Any]]


class Environment(Base):
    """Where attempts ran; equal ones are stored once, under the hash of their content."""

    __tablename__ = "paretoken_environments"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    content: Mapped[dict[str, Any]]


class Attempt(Base):
    """One execution of a trial, whatever came of it."""

    __tablename__ = "paretoken_attempts"

    id: Mapped[int] = mapped_column(primary_key=True)
    trial_id: Mapped[str] = mapped_column(ForeignKey("paretoken_trials.id"))
    state: Mapped[TrialState]
    started_at: Mapped[datetime]
    seconds: Mapped[float]
    worker: Mapped[str] = mapped_column(Text)
    """Node and process."""
    device: Mapped[str | None] = mapped_column(Text)
    failure: Mapped[FailureKind | None]
    error: Mapped[str | None] = mapped_column(Text)
    remedy: Mapped[Remedy | None]
    """What was done after a failure; None where it was the last attempt of its run."""
    environment_id: Mapped[str] = mapped_column(ForeignKey("paretoken_environments.id"))

    __table_args__ = (
        UniqueConstraint("trial_id", "started_at", "worker"),
        Index(
            "ix_paretoken_attempts_failed",
            "trial_id",
            sqlite_where=text("failure IS NOT NULL"),
            postgresql_where=text("failure IS NOT NULL"),
        ),
    )


class Measurement(Base):
    """Numbers of a finished trial: fields of :class:`sweeps.trial.Metrics` that are no times."""

    __tablename__ = "paretoken_measurements"

    trial_id: Mapped[str] = mapped_column(ForeignKey("paretoken_trials.id"), primary_key=True)
    quality: Mapped[float | None]
    quality_se: Mapped[float | None]
    num_examples: Mapped[int]
    tokens: Mapped[float]
    tokens_per_layer: Mapped[list[int]] = mapped_column(JSON)
    flops: Mapped[float]
    flops_per_example: Mapped[float]
    kv: Mapped[float | None]
    kv_bytes: Mapped[int | None] = mapped_column(BigInteger)
    weights: Mapped[float]
    weight_bytes: Mapped[int] = mapped_column(BigInteger)
    attended: Mapped[float | None]
    steps: Mapped[float | None]
    peak_memory: Mapped[float]
    peak_bytes: Mapped[int] = mapped_column(BigInteger)
    simulated: Mapped[list[str]] = mapped_column(JSON)

    __table_args__ = _BY_KEY


class Timing(Base):
    """One timing of a trial, a column for each field of :class:`sweeps.times.Times`.

    Every repetition is a row, and so are the times that a trial took of itself, outside the lane.
    """

    __tablename__ = "paretoken_timings"

    id: Mapped[int] = mapped_column(primary_key=True)
    trial_id: Mapped[str] = mapped_column(ForeignKey("paretoken_trials.id"))
    batch: Mapped[int]
    """Examples in one run."""
    started_at: Mapped[datetime]
    seconds: Mapped[float]
    """Wall time of the attempt."""
    worker: Mapped[str] = mapped_column(Text)
    device: Mapped[str] = mapped_column(Text)
    in_lane: Mapped[bool]
    """Whether no other trial used the device meanwhile."""
    quiet: Mapped[bool]
    """In the lane, and nothing disturbed it."""
    disturbed: Mapped[list[str]] = mapped_column(JSON)
    """What may have, a sentence each."""
    conditions: Mapped[dict[str, Any]]
    """Load, clocks and the like."""
    failure: Mapped[FailureKind | None]
    error: Mapped[str | None] = mapped_column(Text)
    environment_id: Mapped[str] = mapped_column(ForeignKey("paretoken_environments.id"))
    latency: Mapped[float | None]
    latency_low: Mapped[float | None]
    latency_high: Mapped[float | None]
    latency_confidence: Mapped[float | None]
    latency_pairs: Mapped[int | None]
    latency_p95: Mapped[float | None]
    latency_seconds: Mapped[float | None]
    latency_p95_seconds: Mapped[float | None]
    baseline_seconds: Mapped[float | None]
    compressor_seconds: Mapped[float | None]
    compressor_share: Mapped[float | None]
    device_memory: Mapped[float | None]
    device_bytes: Mapped[int | None] = mapped_column(BigInteger)
    energy: Mapped[float | None]
    energy_joules: Mapped[float | None]

    __table_args__ = (
        UniqueConstraint("trial_id", "batch", "started_at", "worker"),
        Index(  # which timing counts, and what is timed, are read from this alone
            "ix_paretoken_timings_counting",
            *("trial_id", "batch", "failure", "in_lane", "quiet", "id", "latency_pairs"),
        ),
    )


class Outcomes(Base):
    """Outcome per example of a finished trial, as Parquet."""

    __tablename__ = "paretoken_outcomes"

    trial_id: Mapped[str] = mapped_column(ForeignKey("paretoken_trials.id"), primary_key=True)
    parquet: Mapped[bytes] = mapped_column(LargeBinary)


class Import(Base):
    """Results that others measured, by name; kept apart from trials."""

    __tablename__ = "paretoken_imports"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    format: Mapped[str] = mapped_column(String(20))
    path: Mapped[str] = mapped_column(Text)
    """Where the files were read."""
    source: Mapped[str] = mapped_column(Text)
    """Who measured, in the words of whoever imported it."""
    sha256: Mapped[str] = mapped_column(String(64))
    provenance: Mapped[dict[str, Any]]
    imported_at: Mapped[datetime]


class ImportedResult(Base):
    """One configuration of an import, with the numbers that its source reports."""

    __tablename__ = "paretoken_imported_results"

    import_id: Mapped[int] = mapped_column(
        ForeignKey("paretoken_imports.id", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(primary_key=True)
    workload: Mapped[str] = mapped_column(String(200))
    method: Mapped[str] = mapped_column(String(200))
    keep_ratio: Mapped[float]
    hyperparameters: Mapped[dict[str, Any]]
    schedule: Mapped[str] = mapped_column(String(200))
    seed: Mapped[int | None] = mapped_column(BigInteger)
    reported: Mapped[dict[str, Any]]
    origin: Mapped[str] = mapped_column(Text)


class OutboxRow(Base):
    """Something the mirror does not know yet, written in the transaction that made it true."""

    __tablename__ = "paretoken_outbox"

    sequence: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[OutboxKind]
    sweep_id: Mapped[int] = mapped_column(ForeignKey("paretoken_sweeps.id", ondelete="CASCADE"))
    trial_id: Mapped[str | None] = mapped_column(ForeignKey("paretoken_trials.id"))
    created_at: Mapped[datetime]
    done_at: Mapped[datetime | None]

    __table_args__ = (
        Index(None, "sweep_id", "trial_id"),
        Index(
            "ix_paretoken_outbox_pending",
            "sequence",
            sqlite_where=text("done_at IS NULL"),
            postgresql_where=text("done_at IS NULL"),
        ),
        {"sqlite_autoincrement": True},  # a sequence number is never used twice
    )


class MlflowRun(Base):
    """The MLflow run of a trial in a sweep, or of the sweep itself where ``trial_id`` is empty.

    ``run_id`` is None while the run is being made: a process that died then may have made it.
    """

    __tablename__ = "paretoken_mlflow_runs"

    sweep_id: Mapped[int] = mapped_column(
        ForeignKey("paretoken_sweeps.id", ondelete="CASCADE"), primary_key=True
    )
    trial_id: Mapped[str] = mapped_column(String(16), primary_key=True)
    run_id: Mapped[str | None] = mapped_column(String(32))


class ReleaseRow(Base):
    """Configurations of a sweep, frozen with what was measured; written once."""

    __tablename__ = "paretoken_releases"

    sweep: Mapped[str] = mapped_column(String(200), primary_key=True)
    """No reference: a release outlives its sweep."""
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    digest: Mapped[str] = mapped_column(String(16))
    content: Mapped[dict[str, Any]]
    environment: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class ReleaseStep(Base):
    """A step of a release; rows are added and never changed."""

    __tablename__ = "paretoken_release_steps"

    sweep: Mapped[str] = mapped_column(String(200), primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int]
    """Of the release."""
    step: Mapped[Step]
    at: Mapped[datetime]
    who: Mapped[str] = mapped_column(Text)
    why: Mapped[str] = mapped_column(Text)
    evidence: Mapped[dict[str, Any]]
