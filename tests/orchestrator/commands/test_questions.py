"""Commands that ask a sweep, on one that was really measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import main
from store.repository import Store
from tests.measured import measure

HEAVY = ("torch", "ray", "mlflow", "transformers", "pandas", "scipy")
SWEEP = """
name: asked
seeds: [0, 1]
keep: [1.0, 0.5, 0.25]
workloads:
  digits:
    task: {{id: digits, num_examples: 16}}
    backbone: {{hf: {folder}}}
    methods: [tome, random]
measure: {{latency_pairs: 0}}
"""


class Console:
    """The command, called in this process in a folder."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            patch.setattr(sys, "argv", ["paretoken", *arguments])
            with pytest.raises(SystemExit) as stop:
                main()
        return int(stop.value.code or 0), *self._capsys.readouterr()

    def rows(self, *arguments: str) -> list[dict[str, Any]]:
        """The JSON document."""
        code, out, err = self.run(*arguments, "--json")
        assert code == 0, err
        parsed: list[dict[str, Any]] = json.loads(out)
        return parsed


@pytest.fixture
def console(measured: Path, capsys: pytest.CaptureFixture[str]) -> Console:
    return Console(measured, capsys)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, vit_folder: Path) -> Path:
    """A folder with results in the default place."""
    folder = tmp_path_factory.mktemp("asked")
    file = folder / "sweep.yaml"
    file.write_text(SWEEP.format(folder=vit_folder))
    with Store(f"sqlite:///{folder}/.paretoken/paretoken.db") as store:
        measure(store, file)
    return folder


TABLES = {
    "frontier asked --confidence 0.9": "at 90%",
    "frontier asked --epsilon 0.1": "epsilon 0.1",
    "best asked --max flops=0.9": "best quality, flops <= 0.9",
    "best asked --of flops --within 90%": "within 90% of the baseline",
    "best asked --max flops=0.01": "Nothing keeps to that; nearest: ",
    "knee asked": "knee of quality over flops",
    "rank asked": "2 methods at 0.5, 0.25",
    "rank asked --seeds drawn": "16 examples, 2 seeds",
    "hypervolume asked --reference flops=2": "flops 2",
    "breaks asked": "broken by every configuration at a keep ratio",
    "breaks asked tome@0.25": "tome@0.25 breaks",
}


@pytest.fixture(scope="module")
def printed(measured: Path) -> dict[str, str]:
    """What every command prints, in a process of their own that imports nothing heavy."""
    script = (
        "import sys\n"
        "from orchestrator.cli import app\n"
        f"for line in {list(TABLES)!r}:\n"
        "    try: app(line.split())\n"
        "    except SystemExit as stop: assert not stop.code, stop.code\n"
        "    print('=====', flush=True)\n"
        f"assert not [name for name in {HEAVY!r} if name in sys.modules]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=measured,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"COLUMNS": "200"},
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(TABLES, done.stdout.split("=====\n"), strict=False))


@pytest.mark.parametrize("command", TABLES)
def test_tables_say_what_was_asked(printed: dict[str, str], command: str) -> None:
    assert TABLES[command] in printed[command]


def test_the_frontier_with_confidence_is_over_configurations(console: Console) -> None:
    (row,) = console.rows("frontier", "asked", "--confidence", "0.95")
    assert row["seeds"] == [0, 1]
    assert {(c["method"], c["keep_label"]) for c in row["configurations"]} == {
        ("identity", "1.0"),
        *((method, keep) for method in ("tome", "random") for keep in ("0.5", "0.25")),
    }
    assert any(c["on_frontier"] and c["probability"] > 0 for c in row["configurations"])


def test_the_best_keeps_to_its_budget(console: Console) -> None:
    (row,) = console.rows("best", "asked", "--max", "flops=0.8")
    assert row["chosen"]["metrics"]["flops"] <= 0.8
    (cheapest,) = console.rows("best", "asked", "--of", "flops", "--min", "quality=0")
    (point,) = console.rows("frontier", "asked", "--confidence", "0.95")
    smallest = min(c["metrics"]["flops"] for c in point["configurations"])
    assert cheapest["chosen"]["metrics"]["flops"] == smallest


def test_breaks_are_the_stored_outcomes_with_their_inputs(console: Console) -> None:
    (row,) = console.rows("breaks", "asked", "random@0.25", "--inputs")
    with Store(f"sqlite:///{console.folder}/.paretoken/paretoken.db") as store:
        trials = dict(
            zip(row["configuration"]["seeds"], row["configuration"]["trials"], strict=True)
        )
        base = dict(zip(row["baseline"]["seeds"], row["baseline"]["trials"], strict=True))
        expected = {
            (example, "breaks" if after < before else "repairs", seed)
            for seed, trial in trials.items()
            for example, (before, after) in enumerate(
                zip(
                    store.outcomes(base[seed])["outcome"],
                    store.outcomes(trial)["outcome"],
                    strict=True,
                )
            )
            if before != after
        }
    found = {(e["example"], e["change"], s) for e in row["examples_changed"] for s in e["seeds"]}
    assert found == expected
    assert set(row["inputs"]) == {str(example) for example, _, _ in expected}
    assert all(0 <= each["labels"] <= 9 for each in row["inputs"].values())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["best", "aksed"], "did you mean 'asked'?"),
        (["best", "asked", "--of", "flop"], "did you mean 'flops'?"),
        (["best", "asked", "--max", "flops=nan"], "METRIC=NUMBER"),
        (["best", "asked", "--within", "1x"], 'write "1%"'),
        (["rank", "asked", "--ladder", "half"], "write keep ratios"),
        (["rank", "asked", "--ladder", "0.5"], "at least two keep ratios"),
        (["hypervolume", "asked", "--reference", "kv=1"], "unknown objective"),
        (["breaks", "asked", "tome@0.3"], "choices: "),
        (["breaks", "asked", "--margin", "0"], "above 0"),
        (["knee", "asked", "--workload", "digit"], "did you mean 'digits'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_one_sentence_with_exit_code_two(
    console: Console, arguments: list[str], sentence: str
) -> None:
    code, out, err = console.run(*arguments)
    assert code == 2, err
    assert sentence in err
    assert len(err.strip().splitlines()) == 1
    assert not out
