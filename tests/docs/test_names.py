"""What docstrings and pages name is there under that name."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import typer
from markdown_it import MarkdownIt
from typer.core import TyperGroup

from orchestrator.cli import app
from tests.docs.pages import ROOT, arguments
from tests.docs.test_docs import PAGES, relative

FOLDERS = ("methods", "sweeps", "store", "dashboards", "orchestrator", "tests")
OURS = rf"(?:{'|'.join(FOLDERS)})"
ROLE = re.compile(r":(?:mod|func|class|data|meth|attr|exc|const):`~?([\w.]+)`")
MODULE = re.compile(rf"(?:python -m|from|import) ({OURS}(?:\.\w+)*)")
PATH = re.compile(rf"(?<![\w./-])(?:{OURS}/[\w./-]*|[\w/-]*\w\.py\b)")
TO_BE_WRITTEN = {"methods/vision/largest_norm.py", "sweeps/reference/NAME/seed-N/"}
"""By the reader of the page."""

every_page = pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=relative
)


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_docstrings_refer_to_is_there(folder: str) -> None:
    lost = [
        f"{relative(path)}: {name}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for classes, text in documented(ast.parse(path.read_text(encoding="utf-8")), ())
        for name in ROLE.findall(text)
        if not resolves(name, path, classes)
    ]
    assert lost == []


def documented(node: ast.AST, classes: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Strings that stand alone, which documents attributes as well, and the classes around each."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
            yield classes, str(child.value.value)
        inside = (*classes, child.name) if isinstance(child, ast.ClassDef) else classes
        yield from documented(child, inside)


def resolves(name: str, path: Path, classes: tuple[str, ...]) -> bool:
    """By its whole path, or as seen from where it stands."""
    if name.split(".")[0] in FOLDERS:
        try:
            pkgutil.resolve_name(name)
        except (ImportError, AttributeError):
            return False
        return True
    here = relative(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    owners: list[object] = [importlib.import_module(here)]
    for each in classes:
        owners.append(getattr(owners[-1], each))
    return any(has(owner, name) for owner in owners)


def has(owner: object, name: str) -> bool:
    first, _, rest = name.partition(".")
    fields = {**getattr(owner, "model_fields", {}), **getattr(owner, "__annotations__", {})}
    if not hasattr(owner, first):
        return name in fields
    return not rest or has(getattr(owner, first), rest)


@every_page
def test_files_and_modules_that_a_page_names_are_there(page: Path) -> None:
    paths = {path for part in code(page) for path in PATH.findall(part)}
    lost = {path for path in paths if not any(f"/{path}" in file for file in files())}
    assert lost <= TO_BE_WRITTEN
    for module in MODULE.findall(page.read_text(encoding="utf-8")):
        name = "/" + module.replace(".", "/")
        assert {f"{name}.py", f"{name}/__init__.py"} & set(files()), module


@every_page
def test_commands_and_options_that_a_page_names_are_there(page: Path) -> None:
    for part in code(page):
        if (words := arguments(part)) is not None:
            found = typer.main.get_command(app)
            for word in words:
                if word.startswith("--"):
                    assert any(word in each.opts for each in found.params), part
                elif isinstance(found, TyperGroup) and word.islower():
                    found = found.commands[word]


def code(page: Path) -> Iterator[str]:
    """What is set as code within sentences and tables, and blocks without a language."""
    for token in MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8")):
        if token.type == "fence" and not token.info:
            yield token.content
        yield from (part.content for part in token.children or [] if part.type == "code_inline")


@cache
def files() -> list[str]:
    """Files and folders of ours as /methods/base.py and /methods/vision/."""
    found = [path for folder in FOLDERS for path in (ROOT / folder, *(ROOT / folder).rglob("*"))]
    return [f"/{relative(path)}" + "/" * path.is_dir() for path in found]
