"""Owns the connections to one HTTP partner: one pooled session for the life of the process (DEL-01, DEL-06).

It never follows a redirect, never unpacks a compressed answer, and reads at most 64 KiB of one. aiohttp may repeat a
PUT by itself when a kept-alive connection turns out dead; the key is the same and the attempt then counts as sent.
"""

from __future__ import annotations

import asyncio
import base64
import io
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import aiohttp
from yarl import URL

from streams.delivery import answers
from streams.delivery.protocol import Envelope, Outcome
from topology.model import HttpPartner

MAX_ANSWER = 64 * 1024
"""Bytes of an answer that are read; a longer answer counts as incomplete."""


class HttpSink:
    """Sends batches to an HTTP API, one request per attempt."""

    def __init__(self, name: str, partner: HttpPartner, clock: Callable[[], float] = time.time) -> None:
        """`clock`: seconds since the epoch, read only for a Retry-After that is a date. Opens nothing yet."""
        self.name = name
        self._partner = partner
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None
        self._secrets = _secrets(partner)

    async def send(self, envelope: Envelope) -> Outcome:
        """See Sink. The whole attempt takes at most `partner.timeout` seconds (DEL-02)."""
        trace = SimpleNamespace(sent=False)
        try:
            if self._session is None:
                self._session = self._open()
            async with self._session.request(
                self._partner.method,
                self._partner.url,
                data=io.BytesIO(envelope.body),  # sent piece by piece, so a large body does not hold up the loop
                headers=self._headers(envelope),
                allow_redirects=False,
                trace_request_ctx=trace,
            ) as response:
                answer = await _read(response)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  (law 5: whatever the client raises is this attempt's outcome)
            return answers.fault(error, sent=trace.sent, secrets=self._secrets)
        return answers.judge(
            answer,
            envelope.body_digest,
            self._clock(),
            not_done=self._partner.not_done,
            secrets=self._secrets,
        )

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        async def request_begins(_session: aiohttp.ClientSession, context: Any, _params: object) -> None:
            # Called just before the first byte is handed to the socket, so an attempt without this mark is known
            # not to have reached the partner: name, connection, TLS or a full pool stood in its way.
            context.trace_request_ctx.sent = True

        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(request_begins)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._partner.connections),
            timeout=aiohttp.ClientTimeout(total=self._partner.timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trace_configs=[trace],
        )

    def _headers(self, envelope: Envelope) -> dict[str, str]:
        headers = dict(self._partner.headers)
        headers |= {
            "Content-Type": envelope.content_type,
            "Accept-Encoding": "identity",
            "Idempotency-Key": envelope.idempotency_key,
            "Content-Digest": f"sha-256=:{base64.b64encode(envelope.body_digest).decode()}:",
            "Waybill-Batch": envelope.batch_id.hex(),
            "Waybill-Attempt": str(envelope.attempt),
            "Waybill-Life": str(envelope.life),
        }
        for name, value in envelope.metadata.items():
            headers["Waybill-" + name.replace("_", "-").title()] = value
        return headers


async def _read(response: aiohttp.ClientResponse) -> answers.Answer:
    """Reads what the answer declares, up to MAX_ANSWER. Raises only CancelledError: once there is a status line, a
    body that cannot be had is an incomplete answer and no longer a missing one."""
    body = bytearray()
    # A framed answer has a known end; without length or chunks a lost connection looks like the end.
    framed = response.content_length is not None or "chunked" in response.headers.get("Transfer-Encoding", "").lower()
    complete: bool | None = True if framed or response.status in (204, 304) else None
    try:
        async for part in response.content.iter_chunked(16 * 1024):
            body += part
            if len(body) > MAX_ANSWER:
                complete = False
                break
    except (aiohttp.ClientError, TimeoutError, OSError):
        complete = False
    if complete is not True:
        response.close()  # what is left of it must not be taken for the next answer
    headers = {name.lower(): value for name, value in response.headers.items()}
    return answers.Answer(response.status, response.reason or "", headers, bytes(body[:MAX_ANSWER]), complete)


def _secrets(partner: HttpPartner) -> frozenset[str]:
    """Values of configured headers, which a partner may echo but no ack may show; the bare token of `Bearer x` too."""
    texts = {part for value in partner.headers.values() for part in (value, value.rpartition(" ")[2])}
    url = URL(partner.url)
    texts |= {text for text in (url.password, url.raw_query_string) if text}
    return frozenset(text for text in texts if len(text) >= 6)
