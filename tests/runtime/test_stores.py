"""Laws of every row store, and what a lasting one adds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.runtime.log import Fatal
from streams.runtime.restore import Origin
from streams.runtime.stores import RocksRowStore
from streams.stage import TableStore
from streams.tables import MemoryRows

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["memory", "rocksdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> TableStore:
    return MemoryRows() if request.param == "memory" else RocksRowStore(tmp_path / "heads-0")


def test_a_new_store_stands_at_zero(store: TableStore) -> None:
    assert store.position == 0
    assert dict(store.items()) == {}


def test_rows_replace_and_tombstones_delete_in_order(store: TableStore) -> None:
    store.apply([(b"a", b"1"), (b"b", b""), (b"a", b"2"), (b"c", b"3"), (b"c", None), (b"never", None)], 9)
    assert dict(store.items()) == {b"a": b"2", b"b": b""}
    assert store.position == 9


def test_applying_twice_changes_nothing(store: TableStore) -> None:
    rows = [(b"a", b"1"), (b"b", b"2"), (b"a", None)]
    store.apply(rows, 3)
    store.apply(rows, 3)
    assert dict(store.items()) == {b"b": b"2"}
    assert store.position == 3


def test_clear_is_a_new_store(store: TableStore) -> None:
    store.apply([(b"", b"empty key"), (b"meta", b"x"), (b"\xff\xff", b"last")], 5)
    store.clear()
    assert store.position == 0
    assert dict(store.items()) == {}


def test_close_twice(store: TableStore) -> None:
    store.close()
    store.close()


KEYS = st.binary(max_size=3) | st.sampled_from([b"meta", b"r", b"s", b"\xff"])


@given(rows=st.lists(st.tuples(KEYS, st.none() | st.binary(max_size=3)), max_size=20))
def test_both_stores_hold_the_same(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[bytes, bytes | None]]
) -> None:
    memory, rocks = MemoryRows(), RocksRowStore(tmp_path_factory.mktemp("rocks") / "heads-0")
    stores: list[TableStore] = [memory, rocks]
    for one in stores:
        one.apply(rows, len(rows))
    assert dict(rocks.items()) == dict(memory.items())
    assert rocks.position == memory.position
    rocks.close()


def test_tx4_rows_position_and_origin_outlive_the_process(tmp_path: Path) -> None:
    store = RocksRowStore(tmp_path / "s")
    store.apply([(b"a", b"1")], 4)
    store.arrived(Origin("id", 12.5), 7)
    store.close()
    again = RocksRowStore(tmp_path / "s")
    assert (dict(again.items()), again.position, again.origin) == ({b"a": b"1"}, 7, Origin("id", 12.5))
    again.clear()
    again.close()
    cleared = RocksRowStore(tmp_path / "s")
    assert (dict(cleared.items()), cleared.position, cleared.origin) == ({}, 0, None)
    cleared.close()


ENDLESS = """
import sys
from pathlib import Path
from streams.runtime.stores import RocksRowStore
store = RocksRowStore(Path(sys.argv[1]))
for place in range(1, 1_000_000):
    store.apply([(b"count", b"%d" % place), (b"row%d" % place, b"x")], place)
    if place == 500:
        print("going", flush=True)
"""


def test_tx4_position_and_rows_never_part_at_a_kill(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(tmp_path / "s")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "going\n"
        os.kill(process.pid, signal.SIGKILL)
    assert process.wait(timeout=60) == -signal.SIGKILL
    store = RocksRowStore(tmp_path / "s")
    rows = dict(store.items())
    assert store.position >= 500
    assert rows[b"count"] == b"%d" % store.position
    assert len(rows) == store.position + 1
    store.close()


def test_a_store_somebody_holds_open_is_refused(tmp_path: Path) -> None:
    holder = RocksRowStore(tmp_path / "s")
    holder.apply([(b"a", b"1")], 1)
    with pytest.raises(Fatal, match="another worker"):
        RocksRowStore(tmp_path / "s")
    assert dict(holder.items()) == {b"a": b"1"}
    holder.close()


def test_a_damaged_store_starts_anew(tmp_path: Path) -> None:
    store = RocksRowStore(tmp_path / "s")
    store.apply([(b"a", b"1")], 1)
    store.close()
    manifest = next((tmp_path / "s").glob("MANIFEST*"))
    manifest.write_bytes(b"\0" * 64)
    again = RocksRowStore(tmp_path / "s")
    assert (dict(again.items()), again.position) == ({}, 0)
    again.close()
