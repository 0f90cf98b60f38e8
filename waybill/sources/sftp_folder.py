"""Owns one folder of an SFTP server: what lies in it, the bytes of a file, and moving a file away afterwards.

A connection that ends under a request was perhaps closed while we were idle: the request is made once more over a new
one, and each may be repeated. What then still fails is said of the file, and of the server as a whole where it
cannot be reached or let go of several files in a row.
"""

from __future__ import annotations

import asyncio
import errno
import io
import os
import posixpath
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TypeVar, cast

import asyncssh
from asyncssh.constants import FILEXFER_TYPE_REGULAR, FILEXFER_TYPE_UNKNOWN

from streams.delivery import answers
from streams.delivery.ssh import GONE, NOT_THERE, OURS, SftpSession
from topology.source import SftpSource
from waybill.sources.complete import Entry
from waybill.sources.drop import Away
from waybill.sources.protocol import PEOPLE_PAUSE

PIECE = 256 * 1024
FILES = (FILEXFER_TYPE_REGULAR, FILEXFER_TYPE_UNKNOWN)
"""A server may keep the type to itself; a folder that it passes off as a file cannot be read."""
MOST_NAMES = 100_000
"""Names of a listing, more of which no server may make us hold."""
MOST_LOST = 3
"""Requests in a row that end without an answer, after which it is not the files."""
CLOSE_SECONDS = 5.0
T = TypeVar("T")


class SftpFolder:
    """See `drop.Folder`. Used from one thread."""

    def __init__(self, source: SftpSource, env: Mapping[str, str] = os.environ) -> None:
        """Opens nothing yet."""
        self._source = source
        self._session = SftpSession(source, env)
        self._root = self._session.root.encode()
        self._runner = asyncio.Runner()
        self._lost = 0

    def list(self) -> list[Entry]:
        """See `drop.Folder`."""
        return self._run(lambda sftp: _list(sftp, self._root))

    def read(self, name: str, limit: int) -> tuple[bytes, Entry]:
        """See `drop.Folder`."""
        return self._run(lambda sftp: self._read(sftp, name, limit))

    def move(self, entry: Entry, where: str, mark: str) -> None:
        """See `drop.Folder`; durably as far as the server's own renames are."""
        self._run(lambda sftp: self._move(sftp, entry, where, mark))

    def remove(self, name: str) -> None:
        """See `drop.Folder`."""
        with suppress(FileNotFoundError):
            self._run(lambda sftp: sftp.remove(self._path(name)))

    def close(self) -> None:
        """Closes the connection."""

        async def end() -> None:
            if (connection := self._session.drop()) is not None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(CLOSE_SECONDS):
                        await connection.wait_closed()

        self._runner.run(end())
        self._runner.close()

    def _run(self, work: Callable[[asyncssh.SFTPClient], Awaitable[T]]) -> T:
        """Raises OSError and Away."""
        return self._runner.run(self._attempts(work))

    async def _attempts(self, work: Callable[[asyncssh.SFTPClient], Awaitable[T]]) -> T:
        again = self._session.is_open
        while True:
            sftp = await self._opened()
            try:
                found = await self._answer(sftp, work)
            except NOT_THERE:
                self._lost = 0
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from None
            except Exception as error:  # noqa: BLE001  (whatever the client raises is what the server came to)
                if isinstance(error, asyncssh.SFTPError) and not isinstance(error, GONE):
                    self._lost = 0
                    raise OSError(self._words(error)) from None
                self._session.drop()
                if again and not isinstance(error, TimeoutError):
                    again = False
                    continue
                self._lost += 1
                raise (Away if self._lost >= MOST_LOST else OSError)(self._words(error)) from None
            self._lost = 0
            return found

    async def _opened(self) -> asyncssh.SFTPClient:
        """The connection. Raises Away."""
        try:
            async with asyncio.timeout(self._source.timeout):
                return await self._session.open()
        except Exception as error:  # noqa: BLE001  (so it is here)
            self._session.drop()
            raise Away(self._words(error), PEOPLE_PAUSE if isinstance(error, OURS) else 0.0) from None

    async def _answer(self, sftp: asyncssh.SFTPClient, work: Callable[[asyncssh.SFTPClient], Awaitable[T]]) -> T:
        """What the work comes to in its time. The connection is let go of first: work that is only cancelled would
        wait for the server to close its file."""
        task = asyncio.ensure_future(work(sftp))
        if not (await asyncio.wait({task}, timeout=self._source.timeout))[0]:
            self._session.drop()
            task.cancel()
            await asyncio.wait({task}, timeout=CLOSE_SECONDS)
            raise TimeoutError
        return task.result()

    def _words(self, error: Exception) -> str:
        if isinstance(error, TimeoutError):
            return f"no answer in {self._source.timeout:g} s"
        return answers.excerpt(f"{type(error).__name__}: {error}", self._session.secrets.texts)

    def _path(self, *parts: str) -> bytes:
        return posixpath.join(self._root, *(part.encode("utf-8", "surrogateescape") for part in parts))

    async def _read(self, sftp: asyncssh.SFTPClient, name: str, limit: int) -> tuple[bytes, Entry]:
        value = io.BytesIO()  # gives out what it holds without a copy
        async with sftp.open(self._path(name), "rb") as file:
            while value.tell() <= limit and (piece := await file.read(min(PIECE, limit + 1 - value.tell()))):
                value.write(cast(bytes, piece))  # typed as text whatever the mode
            after = _entry(name, await file.stat())
        if after is None:
            raise asyncssh.SFTPFailure("the server says neither size nor time of change of an open file")
        return value.getvalue(), after

    async def _move(self, sftp: asyncssh.SFTPClient, entry: Entry, where: str, mark: str) -> None:
        source, target = self._path(entry.name), self._path(where, entry.name)
        if _entry(entry.name, await sftp.lstat(source)) != entry:
            return
        if not await sftp.lexists(self._path(where)):
            await sftp.mkdir(self._path(where))
        if await sftp.lexists(target):
            target = self._path(where, f"{entry.name}.{mark}")
            with suppress(*NOT_THERE):  # the same bytes; SFTP's rename does not overwrite
                await sftp.remove(target)
        await sftp.rename(source, target)


async def _list(sftp: asyncssh.SFTPClient, root: bytes) -> list[Entry]:
    found, names = [], 0
    async for one in sftp.scandir(root):
        name = cast(bytes, one.filename).decode("utf-8", "surrogateescape")
        if (names := names + 1) > MOST_NAMES:
            raise asyncssh.SFTPFailure(f"more than {MOST_NAMES} names lie there: clear it out")
        if "/" in name or one.attrs.type not in FILES:
            continue
        entry = _entry(name, one.attrs)
        if entry is None:
            raise asyncssh.SFTPFailure(f"the server says neither size nor time of change of {name[:80]!r}")
        found.append(entry)
    return found


def _entry(name: str, attrs: asyncssh.SFTPAttrs) -> Entry | None:
    """Its time of change in whole seconds, which is what every server has."""
    if attrs.size is None or attrs.mtime is None:
        return None
    return Entry(name, attrs.size, int(attrs.mtime))
