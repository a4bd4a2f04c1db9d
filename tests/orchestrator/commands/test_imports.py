"""``import`` and ``imports``, as a user calls them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.orchestrator.commands.test_questions import Console

PAPER = "method,keep_ratio,quality,kv\nfull,1,0.95,1\nsnapkv,0.25,0.9,0.26\nh2o,0.25,0.7,0.26\n"


def test_what_was_imported_has_a_frontier_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console(tmp_path, capsys)
    (tmp_path / "paper.csv").write_text(PAPER)
    code, said, _ = console.run("import", "paper.csv", "--source", "a paper, table 2")
    assert code == 0
    assert "not measured here" in said
    code, said, _ = console.run("imports", "paper", "--cost", "kv")
    assert code == 0
    assert "a paper, table 2" in said
    starred = [line.split()[1] for line in said.splitlines() if line.startswith("*")]
    assert starred[:2] == ["snapkv", "full"]
    code, said, _ = console.run("imports", "paper", "--cost", "kv", "--max", "kv=0.5")
    assert next(line.split()[1] for line in said.splitlines() if line[0:1] == "*") == "snapkv"
    code, said, _ = console.run("imports", "paper", "--cost", "kv", "--minimize")
    assert next(line.split()[1] for line in said.splitlines() if line[0:1] == "*") == "h2o"
    _, said, _ = console.run("imports", "paper")
    assert "None is on a frontier of quality and tokens" in said


def test_mistakes_change_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(tmp_path, capsys)
    (tmp_path / "paper.csv").write_text(PAPER + "ems,2,1,1\n")
    code, _, error = console.run("import", "paper.csv", "--source", "x")
    assert (code, error.count("\n")) == (2, 1)
    assert "paper.csv:5: keep_ratio '2'" in error
    code, said, _ = console.run("imports")
    assert (code, said.strip()) == (0, "Nothing imported: paretoken import FILE --source WHO")
    code, _, error = console.run("imports", "paper", "--cost", "kvv")
    assert code == 2
    assert "unknown import 'paper'" in error
