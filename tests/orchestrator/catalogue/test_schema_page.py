from __future__ import annotations

import re

from orchestrator.catalogue.schema_page import page
from sweeps.json_schema import json_schema


def test_the_reference_has_every_key_of_a_sweep_file_with_its_meaning() -> None:
    schema = json_schema()
    rows = re.findall(
        r"^\| `([$\w-]+)` \| ([^|]+) \| [^|]* \| (.*) \|$", page(schema), re.MULTILINE
    )
    described = {key: meaning for key, kind, meaning in rows if kind.strip() and meaning.strip()}
    keys = {*schema["properties"]}
    for part in schema["$defs"].values():
        keys |= {*part.get("properties", {})}
    assert keys <= {key for key, _, _ in rows}
    assert {"strategy", "latency_pairs", "spacing"} <= described.keys(), "parts of parts"
    assert {"keep", "seeds", "workloads", "task", "backbone", "methods"} <= described.keys()
