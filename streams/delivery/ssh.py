"""Owns one SSH connection to one SFTP server: who we are to it, whose key we trust, opening it and letting it go."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Protocol
from urllib.parse import unquote, urlsplit

import asyncssh

from streams.delivery.secrets import SecretMissing, Secrets
from topology.credentials import Secret

KEEP_ALIVE_SECONDS = 15
"""An idle connection that a firewall forgot is noticed within a minute."""
NOT_THERE = (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath)
GONE = (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection)
OURS = (
    asyncssh.PermissionDenied,
    asyncssh.HostKeyNotVerifiable,
    asyncssh.KeyExchangeFailed,
    asyncssh.KeyImportError,
    asyncssh.SFTPPermissionDenied,
    asyncssh.SFTPWriteProtect,
    FileNotFoundError,
    PermissionError,
    SecretMissing,
)
"""What speaks of our login, keys or rights, and of no file of theirs."""


class Account(Protocol):
    """A login, as an SFTP partner and an SFTP source say it."""

    @property
    def url(self) -> str: ...
    @property
    def known_hosts(self) -> str: ...
    @property
    def private_key(self) -> str | None: ...
    @property
    def password(self) -> Secret | None: ...


class SftpSession:
    """Opens the connection when it is asked for, and anew after it was dropped."""

    def __init__(self, account: Account, env: Mapping[str, str] = os.environ) -> None:
        """Opens nothing yet. Raises ValueError for a URL that holds a password, or no port where one should be."""
        self._account = account
        parts = urlsplit(account.url)
        if parts.password is not None:
            raise ValueError("its url holds a password; put it under `password`, as a variable")
        self._user, self._host, self._port = unquote(parts.username or ""), parts.hostname or "", parts.port or 22
        self.root = unquote(parts.path).rstrip("/") or "."
        """The folder, as the server names it."""
        self.secrets = Secrets(env)
        self._opening = asyncio.Lock()
        self._connection: asyncssh.SSHClientConnection | None = None
        self._client: asyncssh.SFTPClient | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is a connection, as far as we know."""
        return self._client is not None

    async def open(self) -> asyncssh.SFTPClient:
        """The one connection. Raises what asyncssh raises, and SecretMissing."""
        async with self._opening:
            if self._client is None:
                account = self._account
                self._connection = await asyncssh.connect(
                    self._host,
                    self._port,
                    username=self._user,
                    password=self.secrets.read(account.password) if account.password else None,
                    client_keys=[account.private_key] if account.private_key else None,
                    known_hosts=account.known_hosts,
                    config=None,
                    agent_path=None,
                    keepalive_interval=KEEP_ALIVE_SECONDS,
                )
                self._client = await self._connection.start_sftp_client()
            return self._client

    def drop(self) -> asyncssh.SSHClientConnection | None:
        """Lets the connection go at once; gives it back to whoever waits for its end."""
        connection, self._connection, self._client = self._connection, None, None
        if connection is not None:
            connection.abort()
        return connection
