"""API keys are shown once, kept as hashes that only their owner reads, and taken back."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.keys import KeyFile, Keyring


def run(folder: Path, *words: str) -> str:
    done = CliRunner().invoke(app, ["keys", *words, "--store", f"sqlite:///{folder}/results.db"])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_key_is_shown_once_and_kept_as_a_hash(tmp_path) -> None:
    secret = run(tmp_path, "add", "alice", "--per-minute", "7").strip()
    file = tmp_path / "api-keys.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert secret.removeprefix("ptk_") not in file.read_text()
    (listed,) = json.loads(run(tmp_path, "list", "--json"))
    assert (listed["tenant"], listed["per_minute"]) == ("alice", 7)
    key = Keyring(file).key_of(secret)
    assert key is not None
    assert key.id == listed["key"]
    assert Keyring(file).key_of(secret + "x") is None
    assert Keyring(file).key_of(key.digest) is None


def test_keys_are_taken_back_one_by_one_or_all(tmp_path) -> None:
    for tenant in ("alice", "alice", "bob", "bob"):
        run(tmp_path, "add", tenant)
    alice, _, *_ = json.loads(run(tmp_path, "list", "--json"))
    run(tmp_path, "revoke", alice["key"])
    run(tmp_path, "revoke", "bob")
    left = json.loads(run(tmp_path, "list", "--json"))
    assert [key["tenant"] for key in left] == ["alice"]
    with pytest.raises(ValueError, match="did you mean 'alice'"):
        KeyFile(tmp_path / "api-keys.json").revoke("alic")


def test_keys_made_at_once_are_all_kept(tmp_path) -> None:
    keys = KeyFile(tmp_path / "api-keys.json")
    with ThreadPoolExecutor(8) as threads:
        secrets = list(threads.map(keys.add, ["alice"] * 24, [600] * 24))
    assert len(keys.read()) == len(set(secrets)) == 24


@pytest.mark.parametrize("tenant", ["", "two words", "x" * 101, "a/b", "\n"])
def test_a_tenant_has_a_plain_name(tmp_path, tenant) -> None:
    with pytest.raises(ValueError, match="a name has up to 100"):
        KeyFile(tmp_path / "api-keys.json").add(tenant, 600)


def test_a_broken_file_opens_no_door(tmp_path) -> None:
    file = tmp_path / "api-keys.json"
    file.write_text("[{}]")
    with pytest.raises(ValueError, match="is not a file of API keys"):
        Keyring(file).key_of("anything")


def test_a_server_that_nobody_could_enter_is_refused(tmp_path) -> None:
    keys = KeyFile(tmp_path / "api-keys.json")
    with pytest.raises(ValueError, match=r"there are no API keys in .*paretoken keys add TENANT"):
        keys.require()
    keys.add("alice", per_minute=600)
    keys.require()


def test_keys_start_nothing_heavy() -> None:
    program = (
        "import sys, orchestrator.commands.keys, orchestrator.keys; "
        "assert not {'ray', 'torch', 'mlflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
