"""Stores (every test that asks for one runs on SQLite and on PostgreSQL) and models on disk."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from store.repository import Store
from tests.postgres import PostgresServer, running

BACKENDS = ("sqlite", "postgresql")

_MIGRATE = """
import sys
from store.database import Database
with Database(sys.argv[1]).write():
    pass
"""

_MIGRATE_MLFLOW = f"""
{_MIGRATE}
from mlflow import MlflowClient
MlflowClient(sys.argv[1]).search_experiments()
"""


@pytest.fixture(scope="session", autouse=True)
def lane_of_our_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Sweeps of other tests, and of others on this machine, neither wait nor are waited for.

    Timings of tests mean nothing, and deadlines of tests are short.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PARETOKEN_LANE_FOLDER", str(tmp_path_factory.mktemp("lane")))
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL of our own."""
    with running() as server:
        yield server


@pytest.fixture(params=BACKENDS)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/.paretoken/paretoken.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    yield from _temporary(server, "template0")


@pytest.fixture(params=BACKENDS)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database with our tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/.paretoken/paretoken.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    yield from _temporary(server, request.getfixturevalue("postgres_template"))


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """An empty store."""
    with Store(store_url) as opened:
        yield opened


@pytest.fixture(params=BACKENDS)
def mirror_url(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A database with our tables and MLflow's, which take seconds to make."""
    if request.param == "sqlite":
        file = tmp_path / ".paretoken" / "paretoken.db"
        file.parent.mkdir()
        shutil.copy(request.getfixturevalue("sqlite_mlflow_template"), file)
        yield f"sqlite:///{file}"
        return
    monkeypatch.setenv("PARETOKEN_ARTIFACTS", str(tmp_path / "artifacts"))
    server: PostgresServer = request.getfixturevalue("postgres")
    yield from _temporary(server, request.getfixturevalue("postgres_mlflow_template"))


@pytest.fixture(scope="session")
def postgres_template(postgres: PostgresServer) -> str:
    """Name of a database with our tables."""
    return _prepared(postgres, _MIGRATE)


@pytest.fixture(scope="session")
def postgres_mlflow_template(postgres: PostgresServer) -> str:
    """Name of a database with our tables and MLflow's."""
    return _prepared(postgres, _MIGRATE_MLFLOW)


@pytest.fixture(scope="session")
def sqlite_mlflow_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with our tables and MLflow's."""
    file = tmp_path_factory.mktemp("mlflow") / "template.db"
    _in_another_process(_MIGRATE_MLFLOW, f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def vit_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face model of the digits task: 144 patches, 4 layers."""
    from tests.models import save_vit

    return save_vit(
        tmp_path_factory.mktemp("models") / "vit",
        image_size=48,
        patch_size=4,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        num_labels=10,
    )


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face model of the recall task: a token's keys and values take 256 bytes."""
    from tests.models import save_llama

    return save_llama(
        tmp_path_factory.mktemp("models") / "llama",
        vocab_size=256,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
    )


def _prepared(server: PostgresServer, script: str) -> str:
    name = server.create()
    _in_another_process(script, server.url(name))
    return name


def _in_another_process(script: str, url: str) -> None:
    """Connections that libraries keep open would be in the way of copying the database."""
    subprocess.run([sys.executable, "-c", script, url], check=True, capture_output=True)


def _temporary(server: PostgresServer, template: str) -> Iterator[str]:
    name = server.create(template)
    yield server.url(name)
    server.drop(name)
