"""Laws of every store of versions, the key-and-offset rows themselves, and what a lasting store adds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.canonical import RawPosition, version_row_key
from streams.batch.identity import MemoryVersions, Version, VersionStore, decode_version, encode_version, split_row_key
from streams.runtime.log import Fatal
from streams.runtime.restore import Origin
from streams.runtime.rocks_versions import RocksVersions
from tests.streams.batch_world import CODEC

Row = tuple[bytes, bytes | None]
KEYS = st.sampled_from(["a", "b", "", "a\x1f", "a\x1fb", "ü", "a\x1f\x00\x00\x00\x00\x00\x00\x00\x01", "v", "meta"])
ROWS = st.lists(
    st.builds(
        lambda key, offset, row: (version_row_key(key, offset).encode(), row),
        KEYS, st.integers(0, 5) | st.sampled_from([255, 256, 2**40]), st.none() | st.binary(max_size=3),
    ),
    max_size=25,
)  # fmt: skip


@pytest.fixture(params=["memory", "rocksdb"])
def new(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], VersionStore]:
    """Makes an empty store."""
    if request.param == "memory":
        return MemoryVersions
    return lambda: RocksVersions(tmp_path_factory.mktemp("versions") / "s")


def row(key: str, offset: int, text: str) -> Row:
    return version_row_key(key, offset).encode(), text.encode()


def gone(key: str, offset: int) -> Row:
    return version_row_key(key, offset).encode(), None


def state(rows: list[Row]) -> dict[bytes, bytes]:
    """What a compacted topic comes to."""
    left: dict[bytes, bytes] = {}
    for key, value in rows:
        if value is None:
            left.pop(key, None)
        else:
            left[key] = value
    return left


# ---- laws of both ----------------------------------------------------------------------------------


def test_a_new_store_is_empty_and_stands_at_zero(new: Callable[[], VersionStore]) -> None:
    store = new()
    assert (store.position, dict(store.items()), store.find("a"), list(store.oldest())) == (0, {}, [], [])


def test_the_versions_of_a_key_come_oldest_first_and_leave_one_by_one(new: Callable[[], VersionStore]) -> None:
    store = new()
    store.apply([row("k", 300, "c"), row("k", 2, "a"), row("k", 10, "b"), row("other", 5, "x")], 4)
    assert store.find("k") == [b"a", b"b", b"c"]
    store.apply([gone("k", 10)], 5)
    assert store.find("k") == [b"a", b"c"]
    store.apply([gone("k", 2), gone("k", 300), gone("k", 300)], 8)
    assert store.find("k") == []
    assert store.find("other") == [b"x"]
    assert store.position == 8


def test_a_row_written_again_replaces_the_old_one(new: Callable[[], VersionStore]) -> None:
    store = new()
    store.apply([row("k", 1, "a"), row("k", 2, "b"), row("k", 1, "A")], 3)
    assert store.find("k") == [b"A", b"b"]


def test_keys_that_begin_alike_do_not_mix(new: Callable[[], VersionStore]) -> None:
    store = new()
    keys = ["a", "a\x1f", "a\x1fb", "a\x1f1", ""]
    store.apply([row(key, 1, f"<{key}>") for key in keys], 5)
    for key in keys:
        assert store.find(key) == [f"<{key}>".encode()]


def test_the_age_queue_is_in_order_of_admission_and_can_be_shortened(new: Callable[[], VersionStore]) -> None:
    store = new()
    store.apply([row("z", 9, "1"), row("a", 3, "2"), row("m", 300, "3")], 3)
    assert list(store.oldest()) == ["z", "a", "m"]
    store.forget_oldest(2)
    store.apply([row("b", 301, "4")], 4)
    assert list(store.oldest()) == ["m", "b"]
    assert store.find("z") == [b"1"]  # only the queue forgets


def test_a_version_that_begins_to_age_anew_is_queued_anew(new: Callable[[], VersionStore]) -> None:
    """The end of a retain: its first place in the queue has been dealt with (BA9)."""
    store = new()
    store.apply([row("a", 1, "aged"), row("b", 2, "x")], 2)
    store.forget_oldest(1)
    store.apply([row("a", 1, "young")], 3)
    assert list(store.oldest()) == ["b", "a"]


def test_clear_is_a_new_store(new: Callable[[], VersionStore]) -> None:
    store = new()
    store.apply([row("a", 1, "x"), row("\uffff", 2**60, "y")], 5)
    store.clear()
    assert (store.position, dict(store.items()), list(store.oldest())) == (0, {}, [])
    store.apply([row("b", 1, "x")], 1)
    assert list(store.oldest()) == ["b"]


def test_close_twice(new: Callable[[], VersionStore]) -> None:
    store = new()
    store.close()
    store.close()


@settings(max_examples=60)
@given(rows=ROWS, cut=st.integers(0, 25), back=st.integers(0, 25))
def test_restored_equals_before_whatever_is_applied_twice(
    rows: list[Row], cut: int, back: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """However the changelog is cut, and though it is read again from any earlier position: the same table."""
    folder = tmp_path_factory.mktemp("versions") / "s"
    rocks: VersionStore = RocksVersions(folder)
    for store in (MemoryVersions(), rocks):
        store.apply(rows[:cut], min(cut, len(rows)))
        store.apply(rows[cut:], len(rows))
        again = max(0, len(rows) - back)
        store.apply(rows[again:], len(rows))
        assert dict(store.items()) == state(rows)
        assert store.position == len(rows)
        queue = list(store.oldest())
        for key in {split_row_key(row_key)[0] for row_key in state(rows)}:
            found = sorted((split_row_key(r)[1], v) for r, v in state(rows).items() if split_row_key(r)[0] == key)
            assert store.find(key) == [value for _, value in found]
            assert key in queue  # every version will be looked at when it is old
    rocks.close()
    reopened = RocksVersions(folder)
    assert dict(reopened.items()) == state(rows)
    reopened.close()


# ---- rows ------------------------------------------------------------------------------------------


@given(key=st.text().filter(lambda t: t.isprintable() or "\x1f" in t), offset=st.integers(0, 2**62))
def test_a_row_key_splits_into_what_it_was_made_of(key: str, offset: int) -> None:
    assert split_row_key(version_row_key(key, offset).encode()) == (key, offset)


@given(
    version=st.builds(
        Version, KEYS, st.integers(0, 2**62), st.builds(RawPosition, st.just("raw"), *[st.integers(0, 2**40)] * 4),
        st.binary(min_size=32, max_size=32), st.integers(0, 2**62), st.text(), st.text(), st.none() | st.text(),
    )
)  # fmt: skip
def test_a_version_survives_its_row(version: Version) -> None:
    assert decode_version(CODEC, encode_version(CODEC, version)) == version


# ---- what a lasting store adds ---------------------------------------------------------------------


def test_tx4_rows_queue_position_and_topic_outlive_the_process(tmp_path: Path) -> None:
    store = RocksVersions(tmp_path / "s")
    store.apply([row("a", 1, "x"), row("b", 2, "y"), row("a", 3, "z")], 4)
    store.forget_oldest(1)
    store.arrived(Origin("topic-1", 12.5), 7)
    store.close()
    again = RocksVersions(tmp_path / "s")
    assert (again.position, again.origin) == (7, Origin("topic-1", 12.5))
    assert again.find("a") == [b"x", b"z"]
    assert list(again.oldest()) == ["b", "a"]
    again.apply([row("c", 9, "new")], 8)
    assert list(again.oldest()) == ["b", "a", "c"]
    again.close()


def test_rows_read_again_after_a_restart_are_not_queued_again(tmp_path: Path) -> None:
    rows = [row("a", 1, "x"), row("b", 2, "y")]
    store = RocksVersions(tmp_path / "s")
    store.apply(rows, 0)  # after a commit the rows are known, their place in the changelog is not
    store.close()
    store = RocksVersions(tmp_path / "s")
    store.apply(rows, 2)
    assert list(store.oldest()) == ["a", "b"]
    store.close()


def test_clear_forgets_the_topic_durably(tmp_path: Path) -> None:
    store = RocksVersions(tmp_path / "s")
    store.apply([row("a", 1, "x")], 4)
    store.arrived(Origin("topic-1", 1.0), 4)
    store.clear()
    store.close()
    store = RocksVersions(tmp_path / "s")
    assert (store.position, store.origin, dict(store.items())) == (0, None, {})
    store.close()


def test_a_folder_that_is_in_use_is_fatal(tmp_path: Path) -> None:
    store = RocksVersions(tmp_path / "s")
    with pytest.raises(Fatal, match="another worker"):
        RocksVersions(tmp_path / "s")
    store.close()
