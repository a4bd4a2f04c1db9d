"""Bytes and text in the database: JSON, Parquet."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def to_json(value: Any) -> str:
    """JSON with keys in their order, which a sweep's objectives and workloads have from its file.

    Raises ValueError for NaN and infinity.
    """
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """Hash of a JSON value, 16 hexadecimal digits; the order of keys does not matter."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class ExampleOutcomes:
    """What a trial's examples gave, in the task's order."""

    values: NDArray[np.float64]
    """NaN for an example that was not evaluated."""
    clusters: NDArray[np.int64] | None
    """Which examples hang together; None where the task does not say."""


def to_parquet(outcomes: Sequence[float], clusters: Sequence[int] = ()) -> bytes:
    """Outcome per example, float64, in the task's order; with its cluster where there is one."""
    import pyarrow as pa
    from pyarrow import parquet

    sink = io.BytesIO()
    columns = {"outcome": pa.array(outcomes, type=pa.float64())}
    if clusters:
        columns["cluster"] = pa.array(clusters, type=pa.int64())
    parquet.write_table(pa.table(columns), sink, compression="zstd")
    return sink.getvalue()


def from_parquet(content: bytes) -> ExampleOutcomes:
    """What :func:`to_parquet` was given."""
    import pyarrow as pa
    from pyarrow import parquet

    table = parquet.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
    columns = {name: _array(table[name]) for name in table.column_names}
    return ExampleOutcomes(columns["outcome"], columns.get("cluster"))


def _array(column: Any) -> NDArray[Any]:
    import numpy as np

    # Arrow's own conversion imports pandas, which takes longer than a table takes to print.
    return np.from_dlpack(column.combine_chunks())
