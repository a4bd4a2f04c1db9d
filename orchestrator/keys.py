"""API keys: made once, shown once, and held as hashes in a file that only its owner reads.

A key is 256 random bits, so that one round of SHA-256 is as good as a slow hash: there is nothing
to guess. Importing this module imports neither torch nor Ray.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from methods.naming import unknown
from store.url import artifacts_folder

FILE: Final = "api-keys.json"
PREFIX: Final = "ptk_"
Tenant = Annotated[str, Field(pattern=r"^[\w.@-]{1,100}$")]


class ServiceLevel(BaseModel):
    """What a tenant is promised where it leaves the choice of a point to the server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    latency_ms: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """99 of 100 answers come within so many milliseconds, at the price of quality."""
    min_quality: Annotated[float, Field(ge=0, le=1)] | None = None
    """No point with a lower measured quality answers."""

    def or_else(self, other: ServiceLevel) -> ServiceLevel:
        """This one, with the other's numbers where it has none."""
        return ServiceLevel(
            latency_ms=other.latency_ms if self.latency_ms is None else self.latency_ms,
            min_quality=other.min_quality if self.min_quality is None else self.min_quality,
        )


UNPROMISED: Final = ServiceLevel()
"""The best point answers, however long that takes."""


class Key(BaseModel):
    """What is kept of a key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    """Names the key without giving it away."""
    tenant: Tenant
    digest: str
    """SHA-256 of the key."""
    created: datetime
    per_minute: Annotated[int, Field(ge=1)]
    """Requests that the tenant may send in a minute."""
    level: ServiceLevel = UNPROMISED


_KEYS: Final = TypeAdapter(list[Key])


def keys_file(store_url: str) -> Path:
    """Where the keys of a store's servers lie: beside its artifacts."""
    return artifacts_folder(store_url).parent / FILE


class KeyFile:
    """The keys of one store."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[Key]:
        """All of them, oldest first; none where there is no file. Raises ValueError for another."""
        try:
            return _KEYS.validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return []
        except ValidationError:
            raise ValueError(f"{self._path} is not a file of API keys") from None

    def require(self) -> None:
        """Raise ValueError where there are no keys: nobody could come in."""
        if not self.read():
            raise ValueError(
                f"there are no API keys in {self._path}; make one with `paretoken keys add TENANT`"
            )

    def add(self, tenant: str, per_minute: int, level: ServiceLevel = UNPROMISED) -> str:
        """A new key, which nobody can read again later. Raises ValueError for a bad name."""
        secret = PREFIX + secrets.token_urlsafe(32)
        try:
            key = Key(
                id=secrets.token_hex(4),
                tenant=tenant,
                digest=digest(secret),
                created=datetime.now(UTC),
                per_minute=per_minute,
                level=level,
            )
        except ValidationError:
            raise ValueError(
                f"tenant {tenant!r}: a name has up to 100 letters, digits, or . _ @ -; and at "
                "least one request a minute"
            ) from None
        with self._locked():
            self._write([*self.read(), key])
        return secret

    def revoke(self, name: str) -> list[Key]:
        """Take back a key by its id, or all of a tenant. Raises ValueError where there is none."""
        with self._locked():
            keys = self.read()
            revoked = [key for key in keys if name in (key.id, key.tenant)]
            if not revoked:
                names = {key.tenant for key in keys} | {key.id for key in keys}
                raise ValueError(unknown("tenant or key", name, names or {"none"}))
            self._write([key for key in keys if key not in revoked])
        return revoked

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Two commands at a time lose no key."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _write(self, keys: list[Key]) -> None:
        draft = self._path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(_KEYS.dump_json(keys, indent=1))
        draft.replace(self._path)


class Keyring:
    """Who a key belongs to, by the file as it is now: what is revoked there is refused here."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._keys: list[Key] = []

    def key_of(self, secret: str) -> Key | None:
        """What is kept of a key; None for any other. Takes as long for each of them."""
        given, found = digest(secret), None
        for key in self._current():
            if hmac.compare_digest(key.digest, given):
                found = key
        return found

    def _current(self) -> list[Key]:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return []
        stamp = (status.st_mtime_ns, status.st_ino)
        if stamp != self._stamp:
            self._keys, self._stamp = KeyFile(self._path).read(), stamp
        return self._keys


def digest(secret: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(secret.encode("utf-8", errors="replace")).hexdigest()
