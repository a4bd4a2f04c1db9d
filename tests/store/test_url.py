from __future__ import annotations

from pathlib import Path

import pytest

from store.url import absolute, artifacts_folder, default_url, inside, masked, scrubbed


def test_the_default_is_one_folder_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PARETOKEN_STORE", raising=False)
    assert absolute(default_url()) == f"sqlite:///{tmp_path}/.paretoken/paretoken.db"
    assert artifacts_folder(default_url()) == tmp_path / ".paretoken" / "artifacts"


def test_the_environment_names_another_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARETOKEN_STORE", "postgresql://db/results")
    assert absolute(default_url()) == "postgresql+psycopg://db/results"


def test_a_servers_artifacts_lie_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARETOKEN_ARTIFACTS", str(tmp_path / "files"))
    assert artifacts_folder("postgresql://db/results") == tmp_path / "files"
    monkeypatch.delenv("PARETOKEN_ARTIFACTS")
    monkeypatch.chdir(tmp_path)
    assert artifacts_folder("postgresql://db/results") == tmp_path / ".paretoken" / "artifacts"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:secret@db/x", "postgresql://me:***@db/x"),
        ("postgresql://me:s@cr:et@db/x", "postgresql://me:***@db/x"),
        ("postgresql://me@db/x", "postgresql://me@db/x"),
        ("postgresql://db/x?user=me&password=secret", "postgresql://db/x?user=me&password=***"),
        ("sqlite:////data/x.db", "sqlite:////data/x.db"),
    ],
)
def test_passwords_are_masked(url: str, shown: str) -> None:
    assert masked(url) == shown


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("results.db", "is not a database URL such as sqlite:///results.db"),
        ("mysql://me:secret@db/x", "names 'mysql'; choices: sqlite:///FILE, postgresql"),
        ("sqlite://", "a store in memory cannot be shared"),
        ("postgresql://me:secr@et@db/x", "write '@' in a password as %40"),
    ],
)
def test_what_cannot_be_a_store_is_refused_without_its_password(url: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint.replace("?", r"\?")) as error:
        absolute(url)
    assert "secr" not in str(error.value)


def test_a_folder_that_a_url_cannot_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder := tmp_path / "what?").mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("PARETOKEN_STORE", raising=False)
    for url in (default_url, lambda: absolute(f"sqlite:///{folder}/x.db")):
        with pytest.raises(ValueError, match=r"what\?.* takes no '\?', neither in the path"):
            url()


@pytest.mark.parametrize(
    "text",
    [
        "cannot reach postgresql+psycopg://me:hunter2@db:5432/x now",
        "OperationalError('postgresql://me:hunter2@db/x')",
        "conninfo 'host=db user=me password=hunter2 dbname=x'",
        "https://user:hunter2@proxy.example/simple failed\nmysql://a:hunter2@h/x",
        "postgresql://me:hunter2@hunter2@db/x",
        "postgresql://me@db/x?sslpassword=hunter2&a=b",
    ],
)
def test_no_text_keeps_a_password(text: str) -> None:
    assert "hunter2" not in scrubbed(text)
    assert "***" in scrubbed(text)


def test_texts_without_passwords_stay_as_they_are() -> None:
    text = "sqlite:////a/b.db, https://hub.example/a@b: see file.py:12 and mail me@example.org"
    assert scrubbed(text) == text


def test_links_and_names_do_not_lead_out_of_the_store(tmp_path: Path) -> None:
    store, outside = tmp_path / "store", tmp_path / "outside"
    outside.mkdir()
    (store / "figures").mkdir(parents=True)
    assert inside(store, "figures", "quickstart") == store / "figures" / "quickstart"
    (store / "figures" / "linked").symlink_to(outside)
    for names in (("..", "outside"), ("figures", "linked"), ("/etc",)):
        with pytest.raises(ValueError, match="leads out of"):
            inside(store, *names)
