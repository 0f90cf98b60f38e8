"""Owns how a batch gets into one SFTP folder: a file is written beside its place and renamed into it, create-only.

SFTP's own rename never overwrites. Until it is asked for nothing has taken effect: a reader sees a file whole or not at
all, as long as it passes over names that begin with a dot.
"""

from __future__ import annotations

import asyncio
import posixpath
from contextlib import suppress
from hashlib import sha256
from types import SimpleNamespace
from typing import cast

import asyncssh

from streams.delivery import answers
from streams.delivery.protocol import Envelope, Outcome, OutcomeKind
from streams.delivery.ssh import GONE, NOT_THERE, OURS, SftpSession
from topology.partner import SftpPartner

PIECE = 256 * 1024


class SftpSink:
    """Writes each batch as one file."""

    def __init__(self, name: str, partner: SftpPartner) -> None:
        """Opens nothing yet. Raises ValueError for a URL that holds a password."""
        self.name = name
        self._partner = partner
        try:
            self._session = SftpSession(partner)
        except ValueError as wrong:
            raise ValueError(f"partner {name}: {wrong}") from None

    async def send(self, envelope: Envelope) -> Outcome:
        """See Sink. The whole attempt takes at most `partner.timeout` seconds."""
        trace = SimpleNamespace(sent=False)
        path = envelope.path
        if not path or "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
            return Outcome(OutcomeKind.REFUSED, answers.excerpt(f"{path!r} names no file below the folder"))
        try:
            async with asyncio.timeout(self._partner.timeout):
                return await self._send(envelope, trace)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  (law 5: whatever the client raises is this attempt's outcome)
            if not isinstance(error, asyncssh.SFTPError) or isinstance(error, GONE):
                self._session.drop()
            if isinstance(error, OURS) and not trace.sent:
                text = answers.excerpt(f"{type(error).__name__}: {error}", self._session.secrets.texts)
                return Outcome(OutcomeKind.STOPPED, text)
            return answers.fault(error, sent=trace.sent, secrets=self._session.secrets.texts)

    async def close(self) -> None:
        self._session.drop()

    async def _send(self, envelope: Envelope, trace: SimpleNamespace) -> Outcome:
        sftp = await self._session.open()
        place = posixpath.join(self._session.root, envelope.path)
        difference = await _difference(sftp, place, envelope)
        if difference is None:
            part = await self._write_beside(sftp, place, envelope)
            trace.sent = True
            try:
                await sftp.rename(part, place)
                return Outcome(OutcomeKind.DELIVERED, f"created: {envelope.path}")
            except asyncssh.SFTPError as refused:
                if isinstance(refused, GONE):
                    raise
                difference = await _difference(sftp, place, envelope)
                trace.sent = False  # the server has said no: nothing of this attempt is in its place
                await _remove(sftp, part)
                if difference is None:
                    raise
        if difference:
            return Outcome(OutcomeKind.CONFLICT, f"{envelope.path}: {difference}")
        return Outcome(OutcomeKind.DELIVERED, f"already there: {envelope.path}")

    async def _write_beside(self, sftp: asyncssh.SFTPClient, place: str, envelope: Envelope) -> str:
        """The name of the whole file, not yet in its place. What earlier attempts of this life left is taken away."""
        folder, name = posixpath.split(place)

        def part(attempt: int) -> str:
            return posixpath.join(folder, f".{name}.{envelope.life}-{attempt}.part")

        for earlier in range(1, envelope.attempt):
            await _remove(sftp, part(earlier))
        mine = part(envelope.attempt)
        try:
            file = await sftp.open(mine, "wb")
        except NOT_THERE:
            await sftp.makedirs(folder, exist_ok=True)
            file = await sftp.open(mine, "wb")
        async with file:
            await file.write(envelope.body)
            # A server without it says so; the file is then as safe as its own.
            with suppress(asyncssh.SFTPOpUnsupported):
                await file.fsync()
        return mine


async def _remove(sftp: asyncssh.SFTPClient, path: str) -> None:
    with suppress(*NOT_THERE, asyncssh.SFTPFailure, asyncssh.SFTPPermissionDenied):
        await sftp.remove(path)


async def _difference(sftp: asyncssh.SFTPClient, place: str, envelope: Envelope) -> str | None:
    """How the file in its place differs from the envelope's body; empty if it holds the same bytes, None if there is
    none."""
    try:
        size, expected = (await sftp.stat(place)).size, len(envelope.body)
    except NOT_THERE:
        return None
    if size != expected:
        return f"stored file has {size} bytes, ours {expected}"
    digest = sha256()
    async with sftp.open(place, "rb") as file:
        while piece := await file.read(PIECE):
            digest.update(cast(bytes, piece))  # typed as text whatever the mode
    if digest.digest() != envelope.body_digest:
        return f"stored digest {digest.hexdigest()} differs from {envelope.body_digest.hex()}"
    return ""
