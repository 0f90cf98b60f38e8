"""Owns the claim store of a worker: a folder or bucket in which an object's name is the SHA-256 of its bytes (VA4)."""

from __future__ import annotations

import os
import time
from pathlib import Path

import obstore
import structlog
from obstore.exceptions import AlreadyExistsError
from obstore.store import LocalStore, ObjectStore

from schemas.canonical import sha256
from streams.claims import ClaimLost, ClaimsAway
from streams.delivery.answers import excerpt
from streams.delivery.object_store import cause_of, folder_of, open_bucket, secrets_of
from topology.sections import ClaimStore

PAUSE = 1.0
"""Seconds before a chunk is redone because of a store that is away: redoing it at once would not help the store."""

log = structlog.get_logger("waybill")


class ObjectClaims:
    """See streams.claims.Claims. Used by one thread."""

    def __init__(self, settings: ClaimStore, default: Path) -> None:
        """`default` is the folder of a pipeline that names no store. Opens nothing that may be away. Raises ValueError
        for a URL or option that obstore does not know."""
        self._folder = default.absolute() if settings.url is None else folder_of(settings.url)
        self._bucket = None if self._folder else open_bucket("claims", settings)
        self.url = f"file://{self._folder}" if self._folder else str(settings.url).rstrip("/")
        self._secrets = secrets_of(settings)

    def put(self, data: bytes) -> str:
        """Whole, under its name, and synced when it returns."""
        digest = sha256(data)
        name = digest.hex()
        try:
            if self._folder:
                self._folder.mkdir(parents=True, exist_ok=True)
            store = self._store()
            try:
                obstore.put(store, name, data, mode="create")
            except AlreadyExistsError:
                if sha256(_read(store, name)) != digest:  # a power cut may leave a short one
                    obstore.put(store, name, data, mode="overwrite")
            if self._folder:
                _sync(self._folder, name)
        except Exception as error:  # obstore raises several kinds
            away = self._away(error)
            time.sleep(PAUSE)
            raise away from error
        return f"{self.url}/{name}"

    def get(self, digest: bytes) -> bytes:
        """Checked against the digest."""
        name = digest.hex()
        try:
            data = _read(self._store(), name)
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise self._away(error) from error
            raise ClaimLost(f"{self.url}/{name} is not there") from error
        except Exception as error:  # obstore raises several kinds
            raise self._away(error) from error
        if sha256(data) != digest:
            raise ClaimLost(f"{self.url}/{name} has other bytes")
        return data

    def _store(self) -> ObjectStore:
        """A folder is opened anew each time: one that has gone is away, and not a folder in which nothing lies."""
        return self._bucket or LocalStore(self._folder)

    def _away(self, error: Exception) -> ClaimsAway:
        why = excerpt(cause_of(error), self._secrets)
        log.warning("claim store cannot be reached", url=self.url, error=why)
        return ClaimsAway(f"claim store {self.url} cannot be reached: {why}")


def _read(store: ObjectStore, name: str) -> bytes:
    return bytes(obstore.get(store, name).bytes())


def _sync(folder: Path, name: str) -> None:
    """Makes an object and the folders that name it survive a power cut, which obstore does not."""
    for path in (folder / name, folder, folder.parent):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
