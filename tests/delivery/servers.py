"""Real servers on this machine for the sinks that need one: PostgreSQL from Debian, asyncssh's SFTP server, and a port
in front of them that cuts connections."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import asyncssh

from tests.conftest import IN_CI, missing
from tests.support import wait_for

T = TypeVar("T")
HOST = "127.0.0.1"
PASSWORD = "pass-word/for tests"
DEADLINE = 60.0


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(DEADLINE)

    def close(self) -> None:
        async def end() -> None:
            mine = asyncio.current_task()
            tasks = [task for task in asyncio.all_tasks() if task is not mine]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.loop.shutdown_default_executor()
            for _ in range(2):  # connections that were aborted are let go of in the next turn
                await asyncio.sleep(0)

        self.run(end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(DEADLINE)
        self.loop.close()


# PostgreSQL.


class Postgres:
    """A server with a superuser `waybill`, who needs PASSWORD."""

    def __init__(self, port: int, password: Path) -> None:
        self.port, self.password = port, password
        """Its password stands in that file."""
        self.loop = Loop()

    def url(self, port: int | None = None) -> str:
        return f"postgresql://waybill@{HOST}:{port or self.port}/postgres"

    def query(self, text: str, *given: Any) -> list[Any]:
        """Rows, over a connection that shares no code with the sink."""

        async def ask() -> list[Any]:
            connection = await asyncpg.connect(self.url(), password=PASSWORD)
            try:
                if given:
                    return list(await connection.fetch(text, *given))
                return [await connection.execute(text)] if ";" in text else list(await connection.fetch(text))
            finally:
                await connection.close()

        return self.loop.run(ask())


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """Starts one in a folder of its own; skips where PostgreSQL is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    binaries = found[-1].parent if found else Path(shutil.which("initdb") or "/nowhere/initdb").parent
    if not (binaries / "postgres").exists():
        missing("no PostgreSQL server here (Debian: apt-get install postgresql)", IN_CI)
    user = None
    if os.getuid() == 0:  # it does not run as root; the package makes this user
        user = "postgres"
    folder = Path(tempfile.mkdtemp(prefix="waybill-pg-"))
    try:
        (folder / "password").write_text(PASSWORD)
        if user is not None:
            for path in (folder, folder / "password"):
                os.chown(path, pwd.getpwnam(user).pw_uid, -1)
        data, given = str(folder / "data"), str(folder / "password")
        start = [str(binaries / "initdb"), "-D", data, "-U", "waybill", "-A", "scram-sha-256", "-E", "UTF8",
                 "--no-locale", "--no-sync", "--pwfile", given]  # fmt: skip
        subprocess.run(start, check=True, user=user, cwd=folder, stdout=subprocess.DEVNULL)
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port = probe.getsockname()[1]
        serve = [str(binaries / "postgres"), "-D", data, "-h", HOST, "-p", str(port), "-k", "", "-c", "fsync=off"]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(serve, user=user, cwd=folder, stdout=log, stderr=log)
        running = Postgres(port, folder / "password")
        try:
            wait_for(lambda: _listens(running, server, folder / "log"), DEADLINE, "PostgreSQL is up")
            yield running
        finally:
            running.loop.close()
            server.send_signal(3)  # at once
            server.wait(DEADLINE)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _listens(running: Postgres, server: subprocess.Popen[bytes], log: Path) -> bool:
    assert server.poll() is None, log.read_text("utf-8", "replace")
    with suppress(OSError, asyncpg.PostgresError):
        running.query("SELECT 1")
        return True
    return False


# SFTP.


class _Files(asyncssh.SFTPServer):
    """Below a folder; in `slow` a rename never ends."""

    async def rename(self, oldpath: bytes, newpath: bytes) -> None:
        if newpath.startswith(b"/slow/"):
            await asyncio.Event().wait()
        super().rename(oldpath, newpath)


class Sftp:
    """A server with one user, who has a key."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.known_hosts, self.private_key = folder / "known_hosts", folder / "key"
        (self.root).mkdir()
        self.loop = Loop()
        host, mine = asyncssh.generate_private_key("ssh-ed25519"), asyncssh.generate_private_key("ssh-ed25519")
        mine.write_private_key(self.private_key)
        self._host = host.export_public_key("openssh").decode()
        allowed = asyncssh.import_authorized_keys(mine.export_public_key("openssh").decode())

        async def listen() -> asyncssh.SSHAcceptor:
            return await asyncssh.listen(
                HOST,
                0,
                server_host_keys=[host],
                authorized_client_keys=allowed,
                sftp_factory=lambda channel: _Files(channel, chroot=os.fsencode(self.root)),
            )

        self._acceptor = self.loop.run(listen())
        self.port = self._acceptor.get_port()
        self.know(self.port)

    def know(self, port: int) -> None:
        """The server may be reached at another port, too."""
        with self.known_hosts.open("a") as file:
            file.write(f"[{HOST}]:{port} {self._host}")

    def close(self) -> None:
        async def end() -> None:
            self._acceptor.close()
            await self._acceptor.wait_closed()

        self.loop.run(end())
        self.loop.close()


@contextmanager
def sftp_server(folder: Path) -> Iterator[Sftp]:
    """Starts one."""
    server = Sftp(folder)
    try:
        yield server
    finally:
        server.close()


# In front of a server.


class Cutter:
    """A port that hands on to another and, when told so, resets connections after so many bytes in one direction."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._left: dict[str, int | None] = {"up": None, "down": None}
        self.loop = Loop()

        async def listen() -> asyncio.Server:
            return await asyncio.start_server(self._serve, HOST, 0)

        self._server = self.loop.run(listen())
        self.port = int(self._server.sockets[0].getsockname()[1])

    def cut_after(self, way: str, size: int) -> None:
        """Connections made from now on live until `size` bytes have gone `up` or `down`."""
        self._left = {"up": None, "down": None, way: size}

    def heal(self) -> None:
        self._left = {"up": None, "down": None}

    def close(self) -> None:
        async def end() -> None:
            self._server.close()

        self.loop.run(end())
        self.loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = dict(self._left)
        above, up = await asyncio.open_connection(HOST, self._upstream)
        pipes = [
            asyncio.ensure_future(self._pipe(reader, up, left["up"])),
            asyncio.ensure_future(self._pipe(above, writer, left["down"])),
        ]
        try:
            await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pipe in pipes:
                pipe.cancel()
            up.transport.abort()
            writer.transport.abort()

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int | None) -> None:
        with suppress(OSError):
            while part := await reader.read(65536):
                part = part if left is None else part[:left]
                writer.write(part)
                await writer.drain()
                if left is not None and (left := left - len(part)) <= 0:
                    return
