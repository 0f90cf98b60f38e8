"""D1 and D2: full and read-only disks, torn and flipped stores. Nothing is lost, doubled, or served in part."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chaos.disks import flip, tear
from schemas.canonical import version_row_key
from streams.runtime.log import Fatal
from streams.runtime.rocks_versions import RocksVersions
from streams.runtime.stores import RocksRowStore

ROOT = Path(__file__).resolve().parents[2]
KEYS = 300
ROWS = 2_000
SLICE = 40
SEEDS = 50


def row(number: int) -> tuple[bytes, bytes]:
    """The row at a changelog offset: keys come back, so that rows replace each other."""
    return version_row_key(f"key-{number % KEYS}", 7).encode(), b"%06d" % number * 20


def rows_at(position: int) -> dict[bytes, bytes]:
    """What a store at this position must hold, to the byte."""
    return dict(map(row, range(position)))


@pytest.fixture(scope="module", params=[RocksRowStore, RocksVersions])
def kind(request: pytest.FixtureRequest) -> Any:
    """Both local stores."""
    return request.param


@pytest.fixture(scope="module", params=["closed", "killed"])
def folder(request: pytest.FixtureRequest, kind: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store written over three runs; the last one closed it, or was killed (a copy taken while it was open)."""
    place = tmp_path_factory.mktemp("store")
    store = kind(place / "s")
    for number in range(0, ROWS, SLICE):
        if number in (800, 1600):
            store.close()
            store = kind(place / "s")
        store.apply(map(row, range(number, number + SLICE)), number + SLICE)
    if request.param == "killed":
        shutil.copytree(place / "s", place / "killed")
    store.close()
    return place / ("killed" if request.param == "killed" else "s")


def read(store: Any) -> dict[bytes, bytes]:
    """Everything, by every way of reading there is."""
    rows = dict(store.items())
    if isinstance(store, RocksVersions):
        assert {key for n in range(KEYS) if store.find(key := f"key-{n}")} == {k[:-2].decode() for k in rows}
        assert set(store.oldest()) >= {k[:-2].decode() for k in rows}
    else:
        assert {key: store.get(key) for key in rows_at(KEYS) if store.get(key)} == rows
    return rows


@pytest.mark.parametrize("damage", [flip, tear])
def test_d2_a_damaged_store_is_rebuilt_or_refused_and_never_served_in_part(
    kind: Any, folder: Path, tmp_path: Path, damage: Callable[[Path, random.Random], Path]
) -> None:
    seen: dict[str, int] = {}
    for seed in range(SEEDS):
        copy = tmp_path / f"s{seed}"
        shutil.copytree(folder, copy)
        file = damage(copy, random.Random(seed))
        try:
            store = kind(copy)
        except Fatal:
            seen["refused"] = seen.get("refused", 0) + 1
            continue
        try:
            assert read(store) == rows_at(store.position), f"seed {seed}: {file.name}"
            outcome = "whole" if store.position == ROWS else "earlier" if store.position else "emptied"
        except Fatal:
            outcome = "found out"
        store.close()
        if outcome == "found out":
            store = kind(copy)
            assert (store.position, read(store)) == (0, {}), f"seed {seed}: it is not rebuilt after {file.name}"
            store.close()
        seen[outcome] = seen.get(outcome, 0) + 1
        shutil.rmtree(copy)
    assert seen.keys() - {"whole"}, "nothing was damaged"
    if damage is flip:
        assert seen.get("found out"), seen


def test_d2_a_flip_that_would_keep_rocksdb_reading_for_ever_is_found_before(
    kind: Any, folder: Path, tmp_path: Path
) -> None:
    """In another process: one that hangs there cannot be interrupted."""
    for file in [f for f in folder.iterdir() if re.match(r"MANIFEST|.*\.log", f.name) and f.stat().st_size]:
        copy = tmp_path / file.name
        shutil.copytree(folder, copy)
        data = bytearray(file.read_bytes())
        data[6] ^= 4  # the type of the first record: 1 becomes 5
        (copy / file.name).write_bytes(data)
        script = f"from pathlib import Path; from {kind.__module__} import {kind.__name__} as S; "
        script += f"s = S(Path({str(copy)!r})); print(s.position, len(list(s.items()))); s.close()"
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.stdout == "0 0\n", done.stderr
