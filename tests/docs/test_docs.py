"""Every command and snippet of the documentation runs, and every link leads somewhere.

How-to pages run against a small sweep under the name of the demo's, the tutorial in a copy of the
project, to which it adds a method. Commands that serve until they are stopped have tests of their
own; here their arguments are checked, as are those of pages about clusters.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml
from typer.core import TyperGroup
from typer.testing import CliRunner

from orchestrator.cli import app
from store.repository import Store
from tests.dashboards.small import measured
from tests.docs.pages import ROOT, SHELL, Snippet, arguments, links, snippets

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
HOW_TO = sorted((DOCS / "how-to").glob("*.md"))
SERVING = {"serve", "ui"}
PROJECT = ("methods", "sweeps", "store", "orchestrator", "dashboards", "tests")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, sqlite_mlflow_template: Path) -> Store:
    folder = tmp_path_factory.mktemp("measured")
    shutil.copyfile(sqlite_mlflow_template, folder / "paretoken.db")
    return measured(folder)


def relative(page: Path) -> str:
    return str(page.relative_to(ROOT))


def parses(command: list[str]) -> None:
    """Raises a UsageError that says which argument or option is wrong."""
    found, rest = typer.main.get_command(app), command
    context = found.context_class(found, info_name="paretoken")
    while rest and isinstance(found, TyperGroup):
        name, found, rest = found.resolve_command(context, rest)
        context = found.context_class(found, info_name=name, parent=context)
    found.make_context(context.info_name, list(rest), parent=context.parent)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=relative)
def test_commands_have_such_arguments_snippets_compile_and_links_lead_somewhere(page: Path) -> None:
    for snippet in snippets(page):
        if snippet.language in SHELL:
            for command in snippet.commands:
                if (parsed := arguments(command)) is not None:
                    parses(parsed)
        elif snippet.language == "python":
            compile(snippet.text, str(snippet), "exec")
        elif snippet.language == "yaml":
            yaml.safe_load(snippet.text)
    missing = [target for target in links(page) if not (page.parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize("page", HOW_TO, ids=lambda page: page.stem)
def test_a_how_to_page_does_what_it_says(
    page: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("dashboards", "sweeps"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PARETOKEN_STORE", store.url)
    for snippet in snippets(page):
        if snippet.file is not None:
            (tmp_path / snippet.file).write_text(snippet.content)
        elif snippet.language == "python":
            exec(compile(snippet.text, str(snippet), "exec"), {})
        elif snippet.language in SHELL:
            follow(snippet)


def follow(snippet: Snippet) -> None:
    """Ours in this process, which has imported everything; what needs a shell in one."""
    script = []
    for command in snippet.commands:
        parsed = arguments(command)
        if parsed is None:
            script.append(command)
        elif parsed[0] not in SERVING:
            done = CliRunner().invoke(app, parsed)
            assert done.exit_code == 0, f"{snippet}: {command}\n{done.output}\n{done.exception!r}"
    if script:
        shell("\n".join(script), Path.cwd())


def shell(script: str, folder: Path, **environment: str) -> str:
    here = Path(sys.executable).parent
    path = {"PATH": f"{here}{os.pathsep}{os.environ['PATH']}", **environment}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, **path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_tutorial_ends_with_a_method_of_ones_own(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in PROJECT:
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    monkeypatch.chdir(tmp_path)
    place = {"PYTHONPATH": str(tmp_path), "PARETOKEN_STORE": store.url}
    said = []
    for snippet in snippets(DOCS / "tutorial.md"):
        if snippet.file is not None:
            (tmp_path / snippet.file).write_text(snippet.content)
        elif snippet.language == "python":
            exec(compile(snippet.text, str(snippet), "exec"), {})
        elif snippet.language in SHELL:
            (tmp_path / "commands").write_text("\n".join(snippet.commands))
            said.append(shell("python -m tests.docs.calls commands", tmp_path, **place))
    assert "largest-norm(order=2.0)" in "".join(said)
    assert (tmp_path / "my-sweep.html").stat().st_size > 30_000
    ran = {point.method for point in store.points("my-sweep")}
    assert ran == {"identity", "tome", "largest-norm"}
