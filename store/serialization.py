"""Bytes and text in the database: canonical JSON, Parquet."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame


def to_json(value: Any) -> str:
    """Canonical JSON: equal values give equal text. Raises ValueError for NaN and infinity."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """Hash of a JSON value, 16 hexadecimal digits."""
    return hashlib.sha256(to_json(value).encode()).hexdigest()[:16]


def to_parquet(outcomes: Sequence[float]) -> bytes:
    """Outcome per example, float64, in the task's order."""
    import pyarrow as pa
    from pyarrow import parquet

    sink = io.BytesIO()
    table = pa.table({"outcome": pa.array(outcomes, type=pa.float64())})
    parquet.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def from_parquet(content: bytes) -> DataFrame:
    """Columns ``example`` (0-based, in the task's order) and ``outcome``."""
    import pandas as pd
    from pyarrow import parquet

    outcomes = parquet.read_table(io.BytesIO(content))["outcome"].to_numpy()
    return pd.DataFrame({"example": range(len(outcomes)), "outcome": outcomes})
