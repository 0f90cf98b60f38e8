"""Keeps what is too large for a topic, in a folder, under the name of its SHA-256 (VA4)."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import obstore

from schemas.canonical import sha256


def claim_store(folder: Path) -> Callable[[bytes], str]:
    """Keeps oversized originals under the name of their SHA-256; written before the commit that names them (VA4)."""

    def claim(data: bytes) -> str:
        folder.mkdir(parents=True, exist_ok=True)
        name = sha256(data).hex()
        with suppress(obstore.exceptions.AlreadyExistsError):
            obstore.put(obstore.store.LocalStore(str(folder)), name, data, mode="create")
        for path in (folder / name, folder):  # obstore does not sync
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        return f"{folder.absolute().as_uri()}/{name}"

    return claim
