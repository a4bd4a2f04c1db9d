"""Adding a method is one file and no other edit: CONTRIBUTING.md's own example, carried out."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from methods import registry
from methods.places import PLACES

ROOT = Path(__file__).parent.parent
PACKAGES = ("methods", "sweeps", "store", "orchestrator", "dashboards")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package)
    return tmp_path


def run(checkout: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=checkout, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_walk_through_adds_a_working_method(checkout: Path) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    match = re.search(r"`(methods/vision/\w+\.py)`:\n\n```python\n(.*?)```", text, re.DOTALL)
    assert match
    (checkout / match[1]).write_text(match[2])
    (checkout / "sweep.yaml").write_text(
        "name: added\n"
        "keep: [1.0, 0.25]\n"
        "workloads:\n"
        "  digits:\n"
        "    task: {id: digits, num_examples: 16, batch_size: 16}\n"
        "    backbone: vit-digits\n"
        "    methods: [identity, {largest-norm: {order: [1, 2]}}]\n"
        "measure: {latency_pairs: 0}\n"
    )
    described = json.loads(run(checkout, "-m", "orchestrator.cli", "methods", "--json"))
    assert "largest-norm" in {row["id"] for row in described}
    planned = run(
        checkout,
        "-c",
        "from pathlib import Path\n"
        "from orchestrator.measurement.trial import run_trial\n"
        "from sweeps.load import load_sweep\n"
        "from sweeps.plan import plan\n"
        "results = [run_trial(t.spec) for t in plan(load_sweep(Path('sweep.yaml'))).trials]\n"
        "print([(r.state.value, r.error) for r in results])",
    )
    assert planned.count("finished") == 3, planned


def test_every_place_has_a_row_with_a_method_that_attaches_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| `methods/(\w+)/(\w+)\.py` \|$", text, re.MULTILINE)
    assert {place for place, *_ in rows} == set(PLACES)
    for place, derive, family, name in rows:
        found = registry.entry(name.replace("_", "-"))
        assert (found.family, place in found.places) == (family, True)
        (first, *_) = re.findall(r"`(\w+)(?:\[\w+\])?`", derive)
        assert first in {base.__name__ for base in found.method.__mro__}
