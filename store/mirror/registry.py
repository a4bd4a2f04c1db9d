"""MLflow's model registry shows the releases: a version each, aliases for those that have traffic.

The ledger is the truth; what is missing in the registry is added, and aliases are set to what the
ledger's line says, so that a call that died is made good by the next.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from store.releases.ledger import Frozen
from store.releases.line import Line
from store.url import artifacts_folder, inside

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read while MLflow is imported

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.pyfunc import add_to_model
from mlflow.types.schema import ParamSchema, ParamSpec

ACTIVE: Final = "champion"
CANARY: Final = "challenger"
PREVIOUS: Final = "previous"
LOADER: Final = "orchestrator.releases.pyfunc"
"""What ``mlflow.pyfunc.load_model`` asks for the model."""
FILE: Final = "release.json"
_PARAMS: Final = [
    ParamSpec("workload", "string", default=None),
    ParamSpec("configuration", "string", default=None),
    ParamSpec("max_cost", "double", default=None),
    ParamSpec("min_quality", "double", default=None),
]
"""A bare ``max_cost`` limits the workload's first cost; MLflow has no parameters that are maps."""


class Registry:
    """The registered models of one tracking database, which is the store's own."""

    def __init__(self, store_url: str) -> None:
        self._folder = artifacts_folder(store_url) / "releases"
        self._client = MlflowClient(tracking_uri=store_url, registry_uri=store_url)

    def register(self, frozen: Frozen) -> str:
        """A version for this release, made once; its number in the registry."""
        name = model_name(frozen.sweep)
        self._ensure(name, frozen.sweep)
        found = self._version(name, frozen.number)
        if found is None:
            found = self._client.create_model_version(
                name,
                source=self._saved(frozen).as_uri(),
                tags={"release": str(frozen.number), "digest": frozen.digest},
                description=_described(frozen),
            )
        return str(found.version)

    def reflect(self, sweep: str, line: Line) -> None:
        """Set the aliases to what the ledger says."""
        canary = None if line.canary is None else line.canary.number
        wanted = {ACTIVE: line.active, CANARY: canary, PREVIOUS: line.previous}
        for alias, number in wanted.items():
            self._point(model_name(sweep), alias, number)

    def _ensure(self, name: str, sweep: str) -> None:
        with suppress(MlflowException):  # it is there
            self._client.create_registered_model(
                name, tags={"sweep": sweep}, description=f"Releases of sweep {sweep!r}."
            )

    def _version(self, name: str, number: int) -> ModelVersion | None:
        for version in self._client.search_model_versions(f"name = '{name}'"):
            if version.tags.get("release") == str(number):
                return version
        return None

    def _saved(self, frozen: Frozen) -> Path:
        """The release as a folder that ``mlflow.pyfunc`` can load."""
        folder = inside(self._folder, frozen.sweep, str(frozen.number))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_text(json.dumps(frozen.content))
        model = Model(signature=ModelSignature(params=ParamSchema(_PARAMS)))
        add_to_model(model, loader_module=LOADER, data=FILE)
        model.save(folder / "MLmodel")
        return folder

    def _point(self, name: str, alias: str, number: int | None) -> None:
        found = None if number is None else self._version(name, number)
        if found is not None:
            self._client.set_registered_model_alias(name, alias, found.version)
            return
        with suppress(MlflowException):  # there is none
            self._client.delete_registered_model_alias(name, alias)


def model_name(sweep: str) -> str:
    """The registered model of a sweep."""
    return f"paretoken-{sweep}"


def _described(frozen: Frozen) -> str:
    counts: Mapping[str, int] = {
        workload["name"]: len(workload["configurations"])
        for workload in frozen.content["workloads"]
    }
    points = ", ".join(f"{name}: {count}" for name, count in counts.items())
    return (
        f"Release {frozen.name}, frozen {frozen.created_at:%Y-%m-%d %H:%M} UTC. Points: {points}."
    )
