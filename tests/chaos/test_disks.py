"""D1 and D2: full and read-only disks, torn and flipped stores. Nothing is lost, doubled, or served in part."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chaos.disks import Disk, NoDisk, flip, small_disk, tear
from schemas.canonical import version_row_key
from schemas.packs.cold_chain.sample import manifest, sample
from streams.runtime.log import Fatal
from streams.runtime.rocks_versions import RocksVersions
from streams.runtime.stores import RocksRowStore
from streams.runtime.worker import EXIT_DRAIN, EXIT_FATAL, EXIT_UNFINISHED
from tests.conftest import IN_CI, missing
from tests.support import Names, wait_for
from tests.system.judge import Judge, judge
from tests.system.plant import DRAIN_SECONDS, READY_SECONDS, Plant

ROOT = Path(__file__).resolve().parents[2]
MIB = 1024 * 1024
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


# ---- a real worker ---------------------------------------------------------------------------------


@pytest.fixture
def disk() -> Iterator[Disk]:
    """A small disk of this test alone."""
    try:
        with small_disk(8 * MIB) as disk:
            yield disk
    except NoDisk as refused:
        missing(str(refused), IN_CI)


def on_disk(disk: Disk, place: Path) -> None:
    """Has a folder of a plant lie on the small disk."""
    (disk.path / place.name).mkdir()
    place.symlink_to(disk.path / place.name)


def rocks_plant(kafka: str, folder: Path, names: Names) -> Plant:
    """A plant whose tables lie in RocksDB."""
    return Plant(kafka, folder, names.prefix, store="rocksdb")


@pytest.mark.kafka
def test_d1_a_full_disk_under_the_stores_ends_the_worker_loudly_and_loses_nothing(
    kafka: str, tmp_path: Path, names: Names, disk: Disk
) -> None:
    load = list(sample(600))
    with rocks_plant(kafka, tmp_path, names) as plant:
        on_disk(disk, tmp_path / "home")
        worker = plant.worker().wait_ready()
        plant.publish(load[:200])
        wait_for(lambda: Judge(plant).answers(), DRAIN_SECONDS, "it works")
        disk.fill()
        plant.publish(load[200:400])
        assert worker.wait(DRAIN_SECONDS) == EXIT_FATAL
        assert "No space left on device" in worker.tail()
        again = plant.worker()
        assert again.wait(DRAIN_SECONDS) not in (0, None), "it cannot work without its stores"
        disk.free()
        plant.publish(load[400:])
        plant.finish()
        assert judge(plant).outcomes()["duplicate"] == manifest(600).duplicate


@pytest.mark.kafka
def test_d1_read_only_stores_refuse_a_start_and_lose_nothing(
    kafka: str, tmp_path: Path, names: Names, disk: Disk
) -> None:
    load = list(sample(400))
    with rocks_plant(kafka, tmp_path, names) as plant:
        on_disk(disk, tmp_path / "home")
        plant.publish(load[:200])
        plant.finish()
        disk.read_only()
        plant.publish(load[200:])
        refused = plant.worker()
        assert refused.wait(READY_SECONDS) not in (0, None)
        assert "Read-only file system" in refused.tail()
        disk.writable()
        plant.finish()
        assert judge(plant).outcomes()["duplicate"] == manifest(400).duplicate


@pytest.mark.kafka
def test_d2_stores_damaged_between_two_runs_lose_nothing_and_double_nothing(
    kafka: str, tmp_path: Path, names: Names
) -> None:
    rounds, each = 4, 150
    load = list(sample(each * rounds))
    rng = random.Random(4)
    with rocks_plant(kafka, tmp_path, names) as plant:
        for number in range(rounds):
            plant.publish(load[number * each : (number + 1) * each])
            worker = plant.worker(options=["--until-end"])
            code = worker.wait(DRAIN_SECONDS)
            if code:  # damage found while it ran: the supervisor would start it again
                assert code in (EXIT_FATAL, EXIT_UNFINISHED)
                assert "is damaged" in worker.tail()
                plant.finish()
            for store in sorted((tmp_path / "home" / "stores").rglob("CURRENT")):
                rng.choice([flip, tear])(store.parent, rng)
        final = plant.worker(options=["--until-end"])
        if final.wait(DRAIN_SECONDS):
            plant.finish()
        assert judge(plant).outcomes()["duplicate"] == manifest(len(load)).duplicate


@pytest.mark.kafka
@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_d1_a_lake_without_room_keeps_or_answers_every_record(
    kafka: str, tmp_path: Path, names: Names, disk: Disk, fault: str
) -> None:
    load = list(sample(400))
    with Plant(kafka, tmp_path, names.prefix) as plant:
        on_disk(disk, tmp_path / "lake")
        worker = plant.worker().wait_ready()
        plant.publish(load[:200])
        wait_for(lambda: list(plant.lake.rglob("batch_*.json")), DRAIN_SECONDS, "the lake gets something")
        if fault == "full":
            disk.fill()
        else:
            wait_for(lambda: turned(disk), DRAIN_SECONDS, "no file on it is open for writing")
        plant.publish(load[200:])
        wait_for(lambda: told_of_trouble(plant), DRAIN_SECONDS, "a batch meets it")
        disk.free() if fault == "full" else disk.writable()
        assert worker.stop() in (0, EXIT_DRAIN)
        plant.finish()
        assert judge(plant).outcomes()["duplicate"] == manifest(400).duplicate


def turned(disk: Disk) -> bool:
    """Whether it is read-only now."""
    try:
        disk.read_only()
    except NoDisk:
        return False
    return True


def told_of_trouble(plant: Plant) -> bool:
    """Whether a batch for the lake was tried and not delivered."""
    rows = Judge(plant).table("delivery").values()
    return any(row["partner"] == "lake" and row["state"] != "sent" and row["answer"] for row in rows)
