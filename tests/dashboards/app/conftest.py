from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from dashboards.app.server import dashboard
from orchestrator.measurement import seen
from store.repository import Store
from tests.dashboards.app.measured import measured_sweep


@pytest.fixture(scope="session")
def measured_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with a small sweep that was really measured."""
    return measured_sweep(tmp_path_factory.mktemp("measured"))


@pytest.fixture
def measured(measured_url: str) -> Iterator[Store]:
    with Store(measured_url) as store:
        yield store


@pytest.fixture(scope="session")
def served(measured_url: str) -> Iterator[str]:
    """The dashboard's address."""
    with dashboard(measured_url, "127.0.0.1", provenance=partial(seen.look, measured_url)) as url:
        yield url
