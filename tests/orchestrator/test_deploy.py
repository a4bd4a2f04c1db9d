"""What ships for clusters is valid and names only what exists: options, files, releases.

The pods are checked with the schemas of Kubernetes, the Dockerfile by hadolint, the ``ray up`` file
with Ray's schema. KubeRay's resources are checked with the part of its v1 API that we use, written
down here; anything else in them is refused.
"""

from __future__ import annotations

import importlib
import json
import re
import shlex
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import ray
import yaml
from ray.serve.schema import ServeDeploySchema
from typer.main import get_command

from orchestrator.cli import app
from orchestrator.serving.app import ANALYST, CONDUCTOR, ENGINE, INGRESS
from orchestrator.serving.declared import Declared

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "orchestrator" / "deploy"
MANIFESTS = ("raycluster.yaml", "rayjob.yaml", "rayservice.yaml")
KUBERNETES = "1.31"


def strict(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    """An object with these keys and no others."""
    return {
        "type": "object",
        "properties": {**required, **optional},
        "required": list(required),
        "additionalProperties": False,
    }


TEXT = {"type": "string"}
COUNT = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
START = {"type": "object", "additionalProperties": TEXT}
POD = strict({"spec": {"type": "object"}}, metadata={"type": "object"})
HEAD = strict({"template": POD}, rayStartParams=START)
WORKERS = strict(
    {"groupName": TEXT, "template": POD},
    rayStartParams=START,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
)
CLUSTER = strict(
    {"headGroupSpec": HEAD},
    rayVersion=TEXT,
    authOptions=strict({"mode": {"enum": ["disabled", "token"]}}),
    workerGroupSpecs={"type": "array", "items": WORKERS},
)
JOB = strict(
    {"entrypoint": TEXT, "rayClusterSpec": CLUSTER},
    shutdownAfterJobFinishes={"type": "boolean"},
    ttlSecondsAfterFinished=COUNT,
)
SERVICE = strict({"serveConfigV2": TEXT, "rayClusterConfig": CLUSTER})
KUBERAY = {"RayCluster": CLUSTER, "RayJob": JOB, "RayService": SERVICE}
INSIDE = {"RayJob": "rayClusterSpec", "RayService": "rayClusterConfig"}
"""Where a cluster stands in what makes one."""


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def clusters() -> Iterator[dict[str, Any]]:
    """The cluster in each manifest."""
    for name in MANIFESTS:
        for document in documents(name):
            if document["kind"] in KUBERAY:
                inside = INSIDE.get(document["kind"])
                yield document["spec"][inside] if inside else document["spec"]


def groups() -> Iterator[dict[str, Any]]:
    """Every group of nodes of every cluster."""
    for spec in clusters():
        yield from (spec["headGroupSpec"], *spec["workerGroupSpecs"])


def ray_commands() -> Any:
    with warnings.catch_warnings(action="ignore"):
        from ray.scripts.scripts import cli

    return cli.commands


def pinned(package: str) -> str:
    [line] = re.findall(rf"^{package}==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    return str(line)


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_follow_the_schemas_of_kubernetes_and_kuberay(name: str) -> None:
    for document in documents(name):
        if document["kind"] not in KUBERAY:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
            continue
        assert document["apiVersion"] == "ray.io/v1"
        schema = {"apiVersion": TEXT, "kind": TEXT, "metadata": {"type": "object"}}
        jsonschema.validate(document, strict({**schema, "spec": KUBERAY[document["kind"]]}))


def test_pods_are_valid_confined_and_named_as_kuberay_wants_them() -> None:
    for group in groups():
        spec = group["template"]["spec"]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": spec}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)
        assert spec["securityContext"]["runAsNonRoot"] is True
        [container] = spec["containers"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["requests"] == container["resources"]["limits"]
        mounts = {mount["name"] for mount in container.get("volumeMounts", ())}
        assert mounts == {volume["name"] for volume in spec.get("volumes", ())}


def test_manifests_name_the_release_of_ray_that_the_image_has() -> None:
    assert {spec["rayVersion"] for spec in clusters()} == {ray.__version__} == {pinned("ray")}


def test_what_is_started_has_the_options_it_is_given() -> None:
    named = {f"--{option}" for group in groups() for option in group["rayStartParams"]}
    up = documents("ray-up.yaml")[0]
    commands = [*up["head_start_ray_commands"], *up["worker_start_ray_commands"]]
    instructions = re.findall(r"^(?:CMD|ENTRYPOINT) (\[.*\])$", dockerfile(), re.MULTILINE)
    words = [word for line in instructions[:2] for word in json.loads(line)]
    words += [word for command in commands for word in shlex.split(command)]
    named |= {word.partition("=")[0] for word in words if word.startswith("--")}
    assert {"--num-cpus", "--address", "--block", "--dashboard-host"} <= named
    commands_of_ray = ray_commands()
    assert named <= {name for param in commands_of_ray["start"].params for name in param.opts}
    assert "health-check" in commands_of_ray


def test_the_job_runs_a_command_that_exists() -> None:
    [job] = documents("rayjob.yaml")
    program, command, *arguments = shlex.split(job["spec"]["entrypoint"])
    assert program in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    parsed = get_command(app).commands[command].make_context(command, arguments)  # type: ignore[attr-defined]
    assert parsed.params["address"] == "auto"
    [container] = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"]
    folders = [mount["mountPath"] for mount in container["volumeMounts"]]
    assert str(parsed.params["file"].parent) in folders


def test_what_is_served_is_declared_as_ray_serve_reads_it() -> None:
    """And its deployments are those of the application, with the arguments that it takes."""
    [declared] = documents("serve.yaml")
    schema = ServeDeploySchema.model_validate(declared)
    [application] = schema.applications
    module, name = application.import_path.split(":")
    assert callable(getattr(importlib.import_module(module), name))
    assert Declared.model_validate(application.args)
    assert {each.name for each in application.deployments} <= {ENGINE, ANALYST, CONDUCTOR, INGRESS}
    service = documents("rayservice.yaml")[1]["spec"]
    assert yaml.safe_load(service["serveConfigV2"]) == declared
    ports = [
        port["containerPort"]
        for group in (
            service["rayClusterConfig"]["headGroupSpec"],
            *service["rayClusterConfig"]["workerGroupSpecs"],
        )
        for container in group["template"]["spec"]["containers"]
        for port in container["ports"]
    ]
    assert ports.count(schema.http_options.port) == 2  # a proxy on every node


def test_the_ray_up_file_follows_rays_schema() -> None:
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    [config] = documents("ray-up.yaml")
    jsonschema.validate(config, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**config, "head_start_commands": []}, schema)


def dockerfile() -> str:
    return (DEPLOY / "Dockerfile").read_text()


def test_the_dockerfile_passes_its_linter() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, DEPLOY / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_gets_every_package_and_nothing_that_is_not_there() -> None:
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile(), re.MULTILINE)
        for source in line.split()
    }
    assert all((ROOT / source).exists() for source in copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert copied >= set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    let_in = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert {line[1:] for line in let_in if line.startswith("!")} == copied
    python = re.findall(r"^ARG PYTHON=(\d+\.\d+)", dockerfile(), re.MULTILINE)
    assert python == [project["tool"]["mypy"]["python_version"]]


def test_variables_of_the_manifests_are_read_somewhere() -> None:
    named = {
        each["name"]
        for group in groups()
        for container in group["template"]["spec"]["containers"]
        for each in container.get("env", ())
    }
    code = "".join(path.read_text() for path in (ROOT / "store").glob("*.py"))
    assert {"PARETOKEN_STORE"} <= named
    assert all(f'"{name}"' in code for name in named)
