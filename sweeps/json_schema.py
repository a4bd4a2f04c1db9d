"""The JSON Schema of sweep files, for editors: they complete names and mark mistakes with it."""

from __future__ import annotations

from typing import Any

from sweeps.spec import SweepSpec


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12); every method, task and backbone with a description.

    It refuses what can be seen without the text and without comparing parts of the file; the rest
    is :func:`sweeps.load.load_sweep`'s.
    """
    schema = SweepSpec.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
