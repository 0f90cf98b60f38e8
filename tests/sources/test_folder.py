"""A dropped file is one submission: whole, once, and told where it cannot be taken."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from topology.source import FolderSource
from waybill.sources.complete import Completeness, Entry
from waybill.sources.drop import DropSource
from waybill.sources.folder import LocalFolder
from waybill.sources.ledger import Doubt

LIMIT = 100


class Broker:
    """The topics `raw` and the source's table; `answers` says of each transaction whether it commits, and whether the
    answer comes."""

    def __init__(self) -> None:
        self.raw: list[tuple[bytes, dict[str, bytes]]] = []
        self.rows: dict[bytes, bytes] = {}
        self.answers: list[str] = []

    def open(self) -> dict[bytes, bytes]:
        return dict(self.rows)

    def publish(
        self, value: bytes | None, key: bytes, headers: Sequence[tuple[str, bytes]], rows: Mapping[bytes, bytes | None]
    ) -> str | None:
        answer = self.answers.pop(0) if self.answers else "well"
        if answer != "aborted":
            if value is not None:
                self.raw.append((value, dict(headers)))
            for name, row in rows.items():
                self.rows.pop(name, None)
                if row is not None:
                    self.rows[name] = row
        if answer != "well":
            raise Doubt(answer)
        return f"raw/0/{len(self.raw) - 1}"

    @property
    def values(self) -> list[bytes]:
        return [value for value, _ in self.raw]


class World:
    """A folder, the broker, and processes of one source that come and go."""

    def __init__(self, path: Path, **settings: Any) -> None:
        self.path, self.broker = path, Broker()
        self.source = FolderSource.model_validate(
            {"kind": "folder", "pipeline": "demo", "path": str(path), "complete": "renamed", **settings}
        )
        self.told: list[str] = []
        self.folder = LocalFolder(path)
        self.begin()

    def begin(self) -> None:
        """Another process."""
        self.drop = DropSource(
            "drop-a", self.source, self.folder, self.broker, LIMIT, self.told.append, lambda: "2026-03-01T12:00:00.000Z"
        )
        self.drop.start()

    def turn(self, now: float = 0.0) -> list[str]:
        return [published.name for published in self.drop.turn(now)]

    def lying(self, where: str = "") -> set[str]:
        folder = self.path / where
        return {one.name for one in folder.iterdir() if one.is_file()} if folder.is_dir() else set()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_file_is_published_as_it_is_with_its_name_and_way_and_moved_away(tmp_path: Path) -> None:
    world = World(tmp_path, content_type="text/csv", site="ward")
    (tmp_path / "a.csv").write_bytes(b"\x00bytes\r\n")
    [published] = world.drop.turn(0)
    assert published == ("a.csv", 8, sha256(b"\x00bytes\r\n").hexdigest(), "raw/0/0")
    assert world.broker.raw == [(b"\x00bytes\r\n", {
        "waybill-source": b"a.csv", "content-type": b"text/csv", "waybill-site": b"ward",
        "waybill-channel": b"folder", "waybill-publisher": b"drop-a",
        "waybill-received-at": b"2026-03-01T12:00:00.000Z",
    })]  # fmt: skip
    assert (world.lying(), world.lying("done")) == (set(), {"a.csv"})
    assert world.turn() == []


def test_a_process_that_ended_between_ack_and_move_publishes_nothing_twice(world: World, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    world.broker.answers = ["lost"]
    with pytest.raises(Doubt):
        world.turn()
    assert world.lying() == {"a"}
    world.begin()
    assert world.turn() == []
    assert (world.broker.values, world.lying("done")) == ([b"one"], {"a"})


def test_what_was_not_committed_is_published_by_the_next_process(world: World, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    world.broker.answers = ["aborted"]
    with pytest.raises(Doubt):
        world.turn()
    world.begin()
    assert world.turn() == ["a"]
    assert world.broker.values == [b"one"]


def test_a_later_file_of_the_same_name_is_another_submission_and_keeps_its_bytes(world: World, tmp_path: Path) -> None:
    for text in (b"one", b"two", b"one"):
        (tmp_path / "a").write_bytes(text)
        assert world.turn() == ["a"]
        world.begin()
    assert world.broker.values == [b"one", b"two", b"one"]
    assert {(tmp_path / "done" / name).read_bytes() for name in world.lying("done")} == {b"one", b"two"}
    assert len(world.lying("done")) == 3


def test_rows_go_when_their_files_are_moved(world: World, tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}").write_bytes(b"x")
        world.turn()
    assert len(world.broker.rows) == 1


def test_a_file_that_changes_while_it_is_read_is_not_whole(world: World, tmp_path: Path) -> None:
    class Growing(LocalFolder):
        def read(self, name: str, limit: int) -> tuple[bytes, Entry]:
            value, _ = super().read(name, limit)
            with (tmp_path / name).open("ab") as file:
                file.write(b"more")
            return value, super().read(name, limit)[1]

    (tmp_path / "a").write_bytes(b"one")
    world.folder = Growing(tmp_path)
    world.begin()
    assert (world.turn(), world.broker.raw) == ([], [])
    world.folder = LocalFolder(tmp_path)
    world.begin()
    assert world.turn() == ["a"]
    assert world.broker.values == [b"onemore"]


def test_what_is_too_large_or_cannot_be_read_is_told_once_and_the_others_go_on(tmp_path: Path) -> None:
    class Closed(LocalFolder):
        def read(self, name: str, limit: int) -> tuple[bytes, Entry]:
            if name == "closed":
                raise PermissionError(13, "Permission denied")
            if name == "vanished":
                raise FileNotFoundError
            return super().read(name, limit)

    world = World(tmp_path)
    world.folder = Closed(tmp_path)
    world.begin()
    for name in ("closed", "good", "vanished"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "large").write_bytes(b"x" * (LIMIT + 1))
    (tmp_path / "limit").write_bytes(b"x" * LIMIT)
    assert sorted(world.turn()) == ["good", "limit"]
    assert sorted(words.split(":")[0] for words in world.told) == ["closed", "large", "vanished"]
    assert world.lying("refused") == {"large"}
    assert (world.turn(), len(world.told)) == ([], 3)


def test_a_file_that_cannot_be_moved_is_published_once_and_moved_when_it_can(tmp_path: Path) -> None:
    world = World(tmp_path, pattern="a")
    (tmp_path / "done").write_bytes(b"in the way")
    (tmp_path / "a").write_bytes(b"one")
    assert [world.turn() for _ in range(3)] == [["a"], [], []]
    assert [words.startswith("a: is published and cannot be moved") for words in world.told] == [True]
    (tmp_path / "done").unlink()
    assert world.turn() == []
    assert (world.broker.values, world.lying("done")) == ([b"one"], {"a"})


def test_a_folder_that_is_away_is_told_and_waited_for(world: World, tmp_path: Path) -> None:
    os.rename(tmp_path, tmp_path.with_name("away"))
    assert (world.turn(), len(world.told)) == ([], 1)
    os.rename(tmp_path.with_name("away"), tmp_path)
    (tmp_path / "a").write_bytes(b"one")
    assert world.turn() == ["a"]


@pytest.mark.parametrize("name", [".a", "a.part", "a.tmp", "a.filepart", "b.txt"])
def test_what_is_unfinished_or_not_asked_for_stays(tmp_path: Path, name: str) -> None:
    world = World(tmp_path, pattern="a*")
    (tmp_path / name).write_bytes(b"x")
    (tmp_path / "link-target").write_bytes(b"x")
    (tmp_path / "a-link").symlink_to(tmp_path / "link-target")
    assert (world.turn(), world.broker.raw) == ([], [])


def test_with_a_marker_a_file_is_whole_once_its_marker_is_there(tmp_path: Path) -> None:
    world = World(tmp_path, complete="marker", marker=".ok")
    (tmp_path / "a").write_bytes(b"one")
    assert world.turn() == []
    (tmp_path / "a.ok").touch()
    assert world.turn() == ["a"]
    assert world.lying() == set(), "the marker is not left for the next file of that name"
    assert world.lying("done") == {"a"}


def test_where_files_are_left_each_is_published_once_as_long_as_it_lies_there(tmp_path: Path) -> None:
    world = World(tmp_path, after="leave")
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"two")
    (tmp_path / "large").write_bytes(b"x" * (LIMIT + 1))
    assert world.turn() == ["a", "b"]
    world.begin()
    os.utime(tmp_path / "b", (1, 1))  # put there once more, with the same bytes
    assert (world.turn(), world.turn()) == ([], [])
    (tmp_path / "a").write_bytes(b"three")
    assert world.turn() == ["a"]
    assert world.lying() == {"a", "b", "large"}
    (tmp_path / "b").unlink()
    (tmp_path / "c").write_bytes(b"four")
    assert world.turn() == ["c"]
    assert (world.broker.values, set(world.broker.rows)) == ([b"one", b"two", b"three", b"four"], {b"a", b"c"})


def test_a_marker_that_is_left_says_nothing_of_a_later_file() -> None:
    settings = {"kind": "folder", "pipeline": "demo", "path": "x", "complete": "marker", "after": "leave"}
    rule = Completeness(FolderSource.model_validate(settings))
    assert settled(Entry("a", 1, 5), Entry("a.done", 0, 5), now=0, of=rule) == ["a"]
    assert settled(Entry("a", 1, 6), Entry("a.done", 0, 5), now=0, of=rule) == []


def test_a_file_that_is_written_anew_while_it_is_published_is_not_moved_unpublished(tmp_path: Path) -> None:
    class Slow(Broker):
        def publish(self, value: bytes | None, *given: Any) -> str | None:
            if not self.raw:
                (tmp_path / "a").write_bytes(b"other bytes")
            return super().publish(value, *given)

    world = World(tmp_path)
    (tmp_path / "a").write_bytes(b"one")
    world.broker = Slow()
    world.begin()
    assert [world.turn(), world.turn()] == [["a"], ["a"]]
    assert world.broker.values == [b"one", b"other bytes"]


def settled(*entries: Entry, now: float, of: Completeness) -> list[str]:
    return [entry.name for entry in of.whole(entries, now)]


def test_settled_is_what_has_not_changed_for_so_long() -> None:
    settings = {"kind": "folder", "pipeline": "demo", "path": "x", "complete": "settled", "settle": 10}
    rule = Completeness(FolderSource.model_validate(settings))
    early, grown = Entry("a", 1, 5), Entry("a", 2, 6)
    assert settled(early, now=0, of=rule) == []
    assert settled(grown, now=9, of=rule) == []
    assert settled(grown, now=18.9, of=rule) == []
    assert settled(grown, Entry("b", 1, 1), now=19, of=rule) == ["a"]
    assert settled(now=20, of=rule) == []
    assert settled(grown, now=30, of=rule) == [], "one that was away begins anew"


def test_what_settles_is_waited_for(tmp_path: Path) -> None:
    world = World(tmp_path, complete="settled", settle=10)
    (tmp_path / "a").write_bytes(b"x")
    assert [(world.turn(now), world.drop.waiting) for now in (0, 10, 11)] == [([], True), (["a"], True), ([], False)]


def test_the_oldest_file_goes_first(world: World, tmp_path: Path) -> None:
    for name, changed in (("a", 3), ("b", 1), ("c", 2)):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (changed, changed))
    assert world.turn() == ["b", "c", "a"]
