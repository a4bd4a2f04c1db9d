"""The command: quick where it only looks things up, and mistakes are sentences."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import typer

from orchestrator import commands
from store.repository import Store
from tests.measured import measure

HEAVY = ("torch", "ray", "mlflow", "transformers")
LISTINGS = (
    "methods",
    "methods tome",
    "tasks",
    "tasks threads",
    "backbones",
    "backbones vit-digits",
)


def paretoken(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "orchestrator.cli", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def imported_by(commands: list[list[str]], libraries: tuple[str, ...], folder: Path) -> str:
    """Which of the libraries a process has imported that ran the commands, as a list's repr."""
    script = (
        "import sys\n"
        "from orchestrator.cli import app\n"
        f"for command in {commands!r}:\n"
        "    try: app(command)\n"
        "    except SystemExit as stop: assert not stop.code, stop.code\n"
        f"print([name for name in {libraries!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stderr.splitlines()[-1]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, vit_folder: Path) -> Path:
    file = tmp_path_factory.mktemp("planned") / "sweep.yaml"
    file.write_text(
        "name: looked-at\n"
        "keep: [1.0, 0.5]\n"
        "workloads:\n"
        "  digits:\n"
        "    task: {id: digits, num_examples: 8}\n"
        f"    backbone: {{hf: {vit_folder}}}\n"
        "    methods: [identity, tome, snapkv]\n"
        "measure: {latency_pairs: 0}\n"
    )
    return file


@pytest.fixture(scope="module")
def measured(sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with results in the default place."""
    folder = tmp_path_factory.mktemp("measured")
    with Store(f"sqlite:///{folder}/.paretoken/paretoken.db") as store:
        measure(store, sweep)
    return folder


def test_help_names_every_command_of_every_module(tmp_path: Path) -> None:
    everything = typer.Typer()
    for found in pkgutil.iter_modules(commands.__path__):
        module = importlib.import_module(f"{commands.__name__}.{found.name}")
        if hasattr(module, "register"):
            module.register(everything)
    named = re.findall(r"^│ ([a-z]+)", paretoken(tmp_path, "--help").stdout, re.MULTILINE)
    assert sorted(named) == sorted(typer.main.get_command(everything).commands)


def test_the_version_is_that_of_the_package(tmp_path: Path) -> None:
    done = paretoken(tmp_path, "--version")
    assert (done.returncode, done.stdout.strip()) == (0, metadata.version("paretoken"))


def test_help_imports_nothing_but_the_command_line(tmp_path: Path) -> None:
    libraries = ("sqlalchemy", "numpy", *HEAVY)
    assert imported_by([["--help"], ["run", "--help"]], libraries, tmp_path) == "[]"


@pytest.mark.parametrize(
    "arguments",
    [["status", "--json"], ["frontier", "looked-at", "--json"]],
    ids=lambda arguments: arguments[0],
)
def test_looking_things_up_imports_nothing_heavy(measured: Path, arguments: list[str]) -> None:
    assert imported_by([arguments], HEAVY, measured) == "[]"


def test_listings_import_no_library_but_torch(tmp_path: Path) -> None:
    commands = [line.split() for line in LISTINGS]
    assert imported_by(commands, HEAVY, tmp_path) == "['torch']"


def test_limits_choose_among_the_points(measured: Path) -> None:
    everything = json.loads(paretoken(measured, "frontier", "looked-at", "--json").stdout)
    assert {point["method"] for point in everything} == {"identity", "tome"}
    cheap = paretoken(measured, "frontier", "looked-at", "--max", "flops=0.9", "--json")
    assert [point["method"] for point in json.loads(cheap.stdout)] == ["tome"]
    table = paretoken(measured, "frontier", "looked-at", "--max", "flops=0.9").stdout
    assert "tome" in table
    assert "identity" not in table


def test_plan_lists_what_is_impossible_with_the_reason_and_writes_nothing(sweep: Path) -> None:
    rows = json.loads(paretoken(sweep.parent, "plan", "sweep.yaml", "--json").stdout)
    assert rows["planned"] == 2
    reasons = {row["method"]: row["reason"] for row in rows["impossible"]}
    assert set(reasons) == {"identity", "snapkv"}
    assert all(reasons.values())
    assert [path.name for path in sweep.parent.iterdir()] == ["sweep.yaml"]


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_bad_file_gives_located_sentences_and_changes_nothing(
    sweep: Path, tmp_path: Path, command: str
) -> None:
    bad = sweep.read_text().replace("tome", "tomee").replace("keep", "keeep")
    (tmp_path / "sweep.yaml").write_text(bad)
    done = paretoken(tmp_path, command, "sweep.yaml")
    assert done.returncode == 2
    assert "did you mean 'tome'?" in done.stderr
    assert "sweep.yaml:2:1" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.yaml"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["frontier", "lookedat"], "did you mean 'looked-at'?"),
        (["frontier", "looked-at", "--max", "flop=1"], "did you mean 'flops'?"),
        (["frontier", "looked-at", "--max", "flops"], "METRIC=NUMBER"),
        (["frontier", "looked-at", "--workload", "digit"], "did you mean 'digits'?"),
        (["status", "lookedat"], "did you mean 'looked-at'?"),
        (["methods", "tomee"], "did you mean 'tome'?"),
        (["methods", "--family", "visoin"], "did you mean 'vision'?"),
        (["methods", "--place", "kw"], "did you mean 'kv'?"),
        (["tasks", "thread"], "did you mean 'threads'?"),
        (["backbones", "vit-digit"], "did you mean 'vit-digits'?"),
        (["backbones", "train", "vit-digit"], "did you mean 'vit-digits'?"),
        (["status", "--store", "mysql://me:secret@host/db"], "choices: sqlite"),
        (["run", "nowhere.yaml"], "nowhere.yaml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_one_sentence_with_exit_code_two(
    measured: Path, arguments: list[str], sentence: str
) -> None:
    done = paretoken(measured, *arguments)
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr
    assert not done.stdout


def test_listings_are_json(tmp_path: Path) -> None:
    methods = json.loads(paretoken(tmp_path, "methods", "--json").stdout)
    implemented = {row["id"] for row in methods if row["status"] == "implemented"}
    assert {"identity", "tome", "pitome", "snapkv", "h2o"} <= implemented
    backbones = json.loads(paretoken(tmp_path, "backbones", "--json").stdout)
    seeds = {row["id"]: row["seeds"] for row in backbones}
    assert seeds["llama-recall"] == seeds["vit-digits"] == [0, 1, 2]
    tasks = json.loads(paretoken(tmp_path, "tasks", "--json").stdout)
    assert {"digits", "recall"} <= {row["id"] for row in tasks}


def test_one_method_is_described_with_an_example(tmp_path: Path) -> None:
    page = json.loads(paretoken(tmp_path, "methods", "snapkv", "--json").stdout)
    assert page["arxiv"] == "2404.14469"
    assert page["yaml"].startswith("methods: [{snapkv: {")
    assert "listing 1" in paretoken(tmp_path, "methods", "snapkv").stdout
    planned = json.loads(paretoken(tmp_path, "methods", "--status", "planned", "--json").stdout)
    assert planned
    assert {row["status"] for row in planned} == {"planned"}


def test_a_task_and_a_backbone_are_described(tmp_path: Path) -> None:
    task = json.loads(paretoken(tmp_path, "tasks", "threads", "--json").stdout)
    assert {each["name"] for each in task["parameters"]} >= {"hops", "needles", "batch_size"}
    assert "at least 1, at most 4" in paretoken(tmp_path, "tasks", "threads").stdout
    backbone = json.loads(paretoken(tmp_path, "backbones", "vit-digits", "--json").stdout)
    assert backbone["class"] == "ViTForImageClassification"
    assert "ViTForImageClassification" in paretoken(tmp_path, "backbones", "vit-digits").stdout


def test_the_schema_describes_the_sweep_file(tmp_path: Path) -> None:
    schema = json.loads(paretoken(tmp_path, "schema").stdout)
    assert {"name", "workloads", "keep"} <= set(schema["properties"])
