"""The folder is the registry: files become methods, and bad ones are named."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

import methods.vision
from methods.contexts import TokenContext
from methods.registry import build, entries, entry
from methods.vision.tome import ToMe

EVERYWHERE = TokenContext.places
METHOD_FILE = '''"""Dropped in by a test; no paper."""
from methods.base import Method, TokenMethod
from methods.contexts import TokenContext

class Newcomer(TokenMethod[TokenContext]):
    """Does nothing."""
'''


@pytest.fixture
def vision_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A second folder of the vision family, forgotten again afterwards."""
    entries()  # which remembers what it saw first
    monkeypatch.setattr(methods.vision, "__path__", [*methods.vision.__path__, str(tmp_path)])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("methods.vision."):
            del sys.modules[name]
            delattr(methods.vision, name.rpartition(".")[2])


def rescan() -> dict[str, object]:
    return dict(entries.__wrapped__())


def test_a_new_file_is_a_new_method(vision_folder: Path) -> None:
    (vision_folder / "new_comer.py").write_text(METHOD_FILE)
    found = entries.__wrapped__()
    assert set(found) - set(entries()) == {"new-comer"}
    assert (found["new-comer"].family, found["new-comer"].places) == ("vision", EVERYWHERE)


def test_a_file_with_an_underscore_is_shared_code(vision_folder: Path) -> None:
    (vision_folder / "_shared_by_test.py").write_text(METHOD_FILE)
    assert rescan().keys() == entries().keys()


def test_a_file_without_a_method_is_named(vision_folder: Path) -> None:
    (vision_folder / "empty_file.py").write_text('"""Nothing here."""\n')
    with pytest.raises(ImportError, match=r"empty_file\.py must define one Method, found 0"):
        rescan()


def test_a_file_with_two_methods_is_named(vision_folder: Path) -> None:
    second = "\nclass Second(Newcomer):\n    pass\n"
    (vision_folder / "two_methods.py").write_text(METHOD_FILE + second)
    with pytest.raises(ImportError, match=r"two_methods\.py must define one Method, found 2"):
        rescan()


def test_two_files_of_one_name_are_refused(vision_folder: Path) -> None:
    (vision_folder / "random.py").write_text(METHOD_FILE)
    with pytest.raises(ImportError, match="two method files share a name"):
        rescan()


def test_the_methods_of_the_quickstart_are_there() -> None:
    vision = {"attention-topk", "evit", "tome", "pitome", "divprune", "dpc-knn"}
    cache = {"recent-window", "streaming-llm", "h2o", "snapkv", "knorm", "tova"}
    controls = {"identity", "random", "uniform", "average-pooling"}
    by_family = {"vision": vision, "kv": cache, "controls": controls}
    for family, ids in by_family.items():
        assert ids <= {entry.id for entry in entries().values() if entry.family == family}


def test_methods_attach_where_their_context_comes_from() -> None:
    assert {found.places for found in entries().values() if found.family == "controls"} == {
        EVERYWHERE
    }
    assert entry("tome").places == ("vision",)
    assert entry("divprune").places == ("vision", "vlm")
    assert entry("snapkv").places == ("kv",)


def test_an_unknown_method_gets_the_nearest_name_and_the_choices() -> None:
    with pytest.raises(ValueError, match=r"unknown method 'tomme'.*'tome'.*attention-topk"):
        entry("tomme")


def test_build_checks_hyperparameters() -> None:
    assert build("tome", {"round_share": 0.25}) == ToMe(round_share=0.25)
    with pytest.raises(ValidationError, match="round_share"):
        build("tome", {"round_share": 0.75})
    with pytest.raises(ValidationError, match="share"):
        build("tome", {"share": 0.5})
