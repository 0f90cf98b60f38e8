"""A file on an SFTP server is one submission: whole, once, moved away there; a server that is down is waited for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.delivery.servers import Cutter, Sftp
from tests.sources.test_folder import LIMIT, Broker
from topology.source import SftpSource
from waybill.sources.drop import Away, DropSource
from waybill.sources.ledger import Doubt
from waybill.sources.sftp_folder import SftpFolder


def source(server: Sftp, folder: str, port: int | None = None, **settings: Any) -> SftpSource:
    return SftpSource.model_validate({
        "kind": "sftp", "pipeline": "demo", "url": f"sftp://waybill@127.0.0.1:{port or server.port}/{folder}",
        "known_hosts": str(server.known_hosts), "private_key": str(server.private_key), "complete": "renamed",
        **settings,
    })  # fmt: skip


class World:
    """A folder of the server, the broker, and processes of one source that come and go."""

    def __init__(self, server: Sftp, name: str, port: int | None = None, **settings: Any) -> None:
        self.path, self.broker, self.told = server.root / name, Broker(), list[str]()
        self.path.mkdir()
        self.source = source(server, name, port, **settings)
        self.folder = SftpFolder(self.source)
        self.begin()

    def begin(self) -> None:
        """Another process."""
        self.folder.close()
        self.folder = SftpFolder(self.source)
        self.drop = DropSource(
            "drop-a", self.source, self.folder, self.broker, LIMIT, self.told.append, lambda: "2026-03-01T12:00:00.000Z"
        )
        self.drop.start()

    def turn(self) -> list[str]:
        return [published.name for published in self.drop.turn(0)]

    def lying(self, where: str = "") -> dict[str, bytes]:
        folder: Path = self.path / where
        return {one.name: one.read_bytes() for one in folder.iterdir() if one.is_file()} if folder.is_dir() else {}


def test_a_process_that_ended_between_commit_and_move_publishes_nothing_twice(drop_server: Sftp) -> None:
    world = World(drop_server, "source-once")
    (world.path / "a").write_bytes(b"one")
    (world.path / "large").write_bytes(b"x" * (LIMIT + 1))
    (world.path / ".b").write_bytes(b"unfinished")
    (world.path / "link").symlink_to(world.path / ".b")
    world.broker.answers = ["lost"]
    with pytest.raises(Doubt):
        world.turn()
    world.begin()
    assert world.turn() == []
    assert (world.broker.values, world.lying("done")) == ([b"one"], {"a": b"one"})
    assert world.broker.raw[0][1]["waybill-channel"] == b"sftp"
    for text in (b"two", b"one", b"one"):  # later files of that name, whose bytes are kept
        (world.path / "a").write_bytes(text)
        assert world.turn() == ["a"]
    assert world.broker.values == [b"one", b"two", b"one", b"one"]
    assert set(world.lying("done").values()) == {b"one", b"two"}
    assert (set(world.lying()), set(world.lying("refused"))) == ({".b", "link"}, {"large"})
    world.folder.close()


def test_a_server_that_is_away_is_waited_for_longer_and_longer_and_a_lost_connection_is_opened_anew(
    drop_server: Sftp,
) -> None:
    between = Cutter(drop_server.port)
    drop_server.know(between.port)
    world = World(drop_server, "source-away", between.port, interval=0.5)
    (world.path / "a").write_bytes(b"one")
    between.cut_after("down", 100)
    found = [(world.turn(), world.drop.pause, world.drop.waiting) for _ in range(3)]
    assert found == [([], 1.0, True), ([], 2.0, True), ([], 4.0, True)]
    assert "cannot be looked into" in world.told[0]
    between.heal()
    assert (world.turn(), world.drop.pause) == (["a"], 0.5)
    between.loop.run(cut_now(between))
    (world.path / "b").write_bytes(b"two")
    assert world.turn() == ["b"]
    assert world.broker.values == [b"one", b"two"]
    world.folder.close()
    between.close()


async def cut_now(between: Cutter) -> None:
    """Ends the connections that there are."""
    import asyncio

    for task in asyncio.all_tasks():
        if "_pipe" in repr(task.get_coro()):
            task.cancel()


def test_a_key_that_is_not_known_is_told_and_not_tried_every_second(drop_server: Sftp) -> None:
    (drop_server.root.parent / "nobody-knows").write_text("")
    folder = SftpFolder(source(drop_server, "", known_hosts=str(drop_server.root.parent / "nobody-knows")))
    with pytest.raises(Away, match="HostKeyNotVerifiable") as away:
        folder.list()
    assert away.value.least == 60
    folder.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "sftp://a:secret@host/x"},
        {"url": "https://a@host/x"},
        {"url": "sftp://a@host:99999/x"},
        {"password": {"env": "A"}},
        {"private_key": None},
    ],
)
def test_an_address_that_is_none_a_password_in_it_and_two_ways_in_or_none_are_not_taken(
    drop_server: Sftp, wrong: dict[str, Any]
) -> None:
    with pytest.raises(ValidationError):
        source(drop_server, "x", **wrong)
