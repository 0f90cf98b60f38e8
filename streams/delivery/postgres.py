"""Owns the connections to one PostgreSQL table: a batch is a row, inserted in one transaction, never updated.

The row's key is the batch id, so "insert, or look what is there" answers every doubt of an earlier attempt (DI2). Until
COMMIT is sent nothing can have taken effect; from then on only the server's word counts.
"""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import asyncpg

from streams.delivery import answers
from streams.delivery.protocol import Envelope, Outcome, OutcomeKind
from streams.delivery.secrets import SecretMissing, Secrets
from topology.partner import PostgresPartner

OURS = ("28", "3D", "3F", "42")
"""Classes of SQLSTATE that speak of our login, database, schema, table or rights, and of no batch."""
BATCH = ("22", "23", "54")
"""Classes that speak of the row: a value or a size the table does not take."""
DOUBT = ("08", "57P", "40003", "XX")
"""What leaves open, after COMMIT was sent, whether it happened: connection lost, server going down, broken."""


class PostgresSink:
    """Writes each batch as one row, create-only."""

    def __init__(self, name: str, partner: PostgresPartner) -> None:
        """Opens nothing yet."""
        self.name = name
        self._partner = partner
        self._secrets = Secrets()
        self._table = ".".join(f'"{part}"' for part in partner.table.split("."))
        self._idle: list[Any] = []

    async def send(self, envelope: Envelope) -> Outcome:
        """See Sink. The whole attempt takes at most `partner.timeout` seconds."""
        trace = SimpleNamespace(sent=False)
        try:
            async with asyncio.timeout(self._partner.timeout):
                return await self._send(envelope, trace)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  (law 5: whatever the client raises is this attempt's outcome)
            return self._failed(error, sent=trace.sent)

    async def close(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.terminate()  # nothing is under way on it

    async def _send(self, envelope: Envelope, trace: SimpleNamespace) -> Outcome:
        connection = await self._connection()
        try:
            # Read committed: after "do nothing" the row that stood in the way can be seen.
            transaction = connection.transaction(isolation="read_committed")
            await transaction.start()
            outcome = await self._insert(connection, envelope)
            trace.sent = outcome.kind is OutcomeKind.DELIVERED
            await transaction.commit()
        except BaseException:
            connection.terminate()
            await self.close()  # the others go to the same server: one attempt finds out, not each
            raise
        self._idle.append(connection)
        return outcome

    async def _connection(self) -> Any:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        # Statements are not kept: a pooler may give each transaction another server.
        password = self._secrets.read(self._partner.password) if self._partner.password else None
        return await asyncpg.connect(
            self._partner.url, password=password, statement_cache_size=0, timeout=self._partner.timeout
        )

    async def _insert(self, connection: Any, envelope: Envelope) -> Outcome:
        # "off" would call a row delivered that a crash of the server still loses.
        await connection.execute(
            "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'"
        )
        key = envelope.batch_id
        inserted = await connection.fetchval(
            f"INSERT INTO {self._table} (batch_id, body, content_type, metadata) VALUES ($1, $2, $3, $4) "
            "ON CONFLICT (batch_id) DO NOTHING RETURNING true",
            key,
            envelope.body,
            envelope.content_type,
            json.dumps(dict(envelope.metadata)),
        )
        where = f"{self._partner.table} {key.hex()}"
        if inserted:
            return Outcome(OutcomeKind.DELIVERED, f"inserted: {where}")
        stored = await connection.fetchval(f"SELECT sha256(body) FROM {self._table} WHERE batch_id = $1", key)
        if stored is None:
            return Outcome(OutcomeKind.UNKNOWN, f"{where}: was there and is gone again")
        if stored != envelope.body_digest:
            digests = f"stored digest {stored.hex()} differs from {envelope.body_digest.hex()}"
            return Outcome(OutcomeKind.CONFLICT, f"{where}: {digests}")
        return Outcome(OutcomeKind.DELIVERED, f"already there: {where}")

    def _failed(self, error: Exception, *, sent: bool) -> Outcome:
        """The outcome of an attempt that raised. `sent`: COMMIT may have left us."""
        if isinstance(error, SecretMissing):
            return Outcome(OutcomeKind.STOPPED, str(error))
        if not isinstance(error, asyncpg.PostgresError) or not error.sqlstate:
            return answers.fault(error, sent=sent, secrets=self._secrets.texts)
        state = str(error.sqlstate)
        text = answers.excerpt(f"{state} {error}", self._secrets.texts)
        if sent and state.startswith(DOUBT):
            return Outcome(OutcomeKind.UNKNOWN, text)
        # An error that the server answers, also to COMMIT, means that the transaction was rolled back.
        if state.startswith(OURS):
            return Outcome(OutcomeKind.STOPPED, text)
        return Outcome(OutcomeKind.REFUSED if state.startswith(BATCH) else OutcomeKind.FAILED, text)
