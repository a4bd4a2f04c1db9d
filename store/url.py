"""Where results live: one database URL for our tables and MLflow's, one folder for artifacts."""

from __future__ import annotations

import os
import re
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

FOLDER = ".paretoken"
STORE_FILE = ".paretoken-store"
"""Holds the store's URL in the working directory of a submitted job."""
_SECRETS = re.compile(r"password|passwd|secret|token", re.IGNORECASE)
_CREDENTIALS = re.compile(r"(\b[a-zA-Z][\w+.-]*://[^\s:/@'\"]*):[^\s'\"]*@")
_ASSIGNED = re.compile(r"(\b(?:password|passwd|sslpassword))=[^\s&'\"]+", re.IGNORECASE)
_BACKENDS = {
    "sqlite": "sqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}


def default_url() -> str:
    """``PARETOKEN_STORE``, or the content of the file that ``PARETOKEN_STORE_FILE`` names.

    Without either, the SQLite file ``.paretoken/paretoken.db`` in this directory. A file keeps a
    password out of the environment, as orchestrators of containers do with their secrets.
    """
    chosen = os.environ.get("PARETOKEN_STORE")
    file = os.environ.get("PARETOKEN_STORE_FILE")
    if not chosen and file:
        chosen = Path(file).read_text(encoding="utf-8").strip()
    return absolute(chosen or f"sqlite:///{FOLDER}/paretoken.db")


def absolute(url: str) -> str:
    """The same database, named so that it can be opened from any directory.

    A relative SQLite file is taken from the working directory; ``postgresql://`` means the psycopg
    driver. Raises ValueError for what is not a URL, other databases, databases in memory, which no
    second process could read, and SQLite files with ``?``. The message never holds a password.
    """
    parsed = _parse(url)
    driver = _BACKENDS.get(parsed.drivername)
    if driver is None:
        raise ValueError(
            f"store {masked(url)!r} names {parsed.drivername!r}; choices: "
            "sqlite:///FILE, postgresql+psycopg://USER:PASSWORD@HOST/DATABASE"
        )
    if driver == "sqlite":
        return _absolute_file(url, parsed)
    if parsed.host and "@" in parsed.host:
        raise ValueError(f"store {masked(url)!r}: write '@' in a password as %40")
    return parsed.set(drivername=driver).render_as_string(hide_password=False)


def masked(url: str) -> str:
    """The URL with ``***`` for every password; safe to print and to log."""
    hidden = re.sub(r"(://[^:/@]*):.*@", r"\1:***@", url)
    base, mark, query = hidden.partition("?")
    pairs = [_masked_pair(pair) for pair in query.split("&")]
    return base + mark + "&".join(pairs)


def scrubbed(text: str) -> str:
    """Any text, such as a traceback, with ``***`` for every password of a URL or a DSN in it."""
    text = _CREDENTIALS.sub(r"\1:***@", text)
    return _ASSIGNED.sub(r"\1=***", text)


def inside(folder: Path, *names: str) -> Path:
    """The path below ``folder``. Raises ValueError where names or links lead out of it."""
    path = folder.joinpath(*names)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{path} leads out of {folder}")
    return path


def sqlite_file(url: str) -> Path | None:
    """The SQLite file of an absolute URL; None for a server."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return None
    assert parsed.database
    return Path(parsed.database)


def artifacts_folder(url: str) -> Path:
    """Where files belong: next to the SQLite file, or ``PARETOKEN_ARTIFACTS`` for a server.

    Without that variable a server's artifacts lie in ``.paretoken/artifacts`` of this directory.
    """
    file = sqlite_file(absolute(url))
    if file is not None:
        return file.parent / "artifacts"
    chosen = os.environ.get("PARETOKEN_ARTIFACTS")
    return Path(chosen or f"{FOLDER}/artifacts").resolve()


def _parse(url: str) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        message = f"store {masked(url)!r} is not a database URL such as sqlite:///results.db"
        raise ValueError(message) from None


def _absolute_file(url: str, parsed: URL) -> str:
    if not parsed.database or parsed.database == ":memory:":
        raise ValueError(
            "a store in memory cannot be shared by processes; name a file: sqlite:///x.db"
        )
    path = Path(parsed.database).resolve()
    if "?" in f"{url}{path}":
        raise ValueError(
            f"store {masked(url)!r} is the file {masked(str(path))}: a SQLite store takes no '?', "
            "neither in the path, which would end there, nor for options"
        )
    return f"sqlite:///{path}"


def _masked_pair(pair: str) -> str:
    key, mark, _ = pair.partition("=")
    return f"{key}=***" if mark and _SECRETS.search(key) else pair
