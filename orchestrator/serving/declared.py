"""The application as files of Ray Serve declare it, by ``orchestrator.serving.declared:app``.

``orchestrator/deploy/serve.yaml`` is such a file, for ``serve deploy`` and, within a RayService,
for Kubernetes. No process of ours runs beside it: the server follows the ledger by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict
from ray import serve

from orchestrator.keys import UNPROMISED, KeyFile, ServiceLevel, keys_file
from orchestrator.serving.app import build_app
from store.releases.release import release_of
from store.repository import Store
from store.url import default_url


class Declared(BaseModel):
    """What the file says under ``args``."""

    model_config = ConfigDict(extra="forbid")

    sweep: str
    store: str | None = None
    """Default: ``PARETOKEN_STORE``, which keeps passwords out of the file."""
    level: ServiceLevel = UNPROMISED
    """What is promised to whoever's key promises nothing else."""
    require_keys: bool = True
    """False where something in front of the server lets nobody in whom it does not know."""


def app(args: Mapping[str, Any]) -> serve.Application:
    """The application for a sweep; ``args`` are those of :class:`Declared`.

    Raises ValueError for other arguments, for a sweep that cannot be served, and where keys are
    required and there are none.
    """
    declared = Declared.model_validate(args)
    url = declared.store or default_url()
    keys = keys_file(url) if declared.require_keys else None
    if keys is not None:
        KeyFile(keys).require()
    with Store(url) as store:
        return build_app(release_of(store, declared.sweep), url, keys, declared.level)
