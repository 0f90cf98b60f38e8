"""Owns the connections to one HTTP partner: one pooled session for the life of the process (DEL-01, DEL-06).

It never follows a redirect, never unpacks a compressed answer, and reads at most 64 KiB of one. aiohttp may repeat a
PUT by itself when a kept-alive connection turns out dead; the key is the same and the attempt then counts as sent.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import os
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from hashlib import sha256

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from streams.delivery import answers
from streams.delivery.auth import Authorization
from streams.delivery.connector import Connector, Handler, watched
from streams.delivery.per_record import RecordReader
from streams.delivery.protocol import Envelope, NotAllowed, Outcome, OutcomeKind, Probed
from streams.delivery.secrets import SecretMissing, Secrets
from streams.delivery.tls import CertificateMissing, TlsContext
from topology.credentials import Secret
from topology.partner import HttpPartner

MAX_ANSWER = 64 * 1024
"""Bytes of an answer that are read; a longer answer counts as incomplete."""
MAX_RECORD_ANSWER = 1024
"""Bytes beyond it for each record, where the partner answers for each one, up to MAX_ANSWERS in all."""
MAX_ANSWERS = 8 * 2**20
PIECE = 64 * 1024
"""Bytes of a body that are handed over at once; a larger one goes piece by piece, so that it does not hold up the
loop."""


class HttpSink:
    """Sends batches to an HTTP API, one request per attempt."""

    def __init__(
        self,
        name: str,
        partner: HttpPartner,
        clock: Callable[[], float] = time.time,
        env: Mapping[str, str] = os.environ,
    ) -> None:
        """`clock`: seconds since the epoch, read only for a Retry-After that is a date. `env`: where secrets may be
        found. Opens nothing yet."""
        self.name = name
        self._partner = partner
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None
        self._secrets = _configured(partner, env)
        self._records = RecordReader(partner.response) if partner.response is not None else None
        self._tls = TlsContext(partner.tls, self._secrets) if partner.tls is not None else None
        self._auth = Authorization(partner.auth, self._secrets, self._post) if partner.auth is not None else None
        self._create_only = any(header.lower() == "if-none-match" for header in partner.headers)

    async def send(self, envelope: Envelope) -> Outcome:
        """See Sink. The whole attempt takes at most `partner.timeout` seconds (DEL-02), fetching a token included."""
        used: list[Handler] = []
        try:
            async with asyncio.timeout(self._partner.timeout):
                return await self._send(envelope, used)
        except Exception as error:  # noqa: BLE001  (law 5: whatever the client raises is this attempt's outcome)
            outcome, torn = self._failed(error, used), used[-1].torn if used else b""
            return outcome._replace(kept=answers.kept(torn, self._secrets.texts)) if torn else outcome

    async def probe(self) -> Probed:
        """See Probing: the partner's `probe`, or HEAD of its URL, with our credentials and headers and no body."""
        used: list[Handler] = []
        try:
            async with asyncio.timeout(self._partner.timeout):
                answer = await self._ask(used)
        except Exception as error:  # noqa: BLE001  (as with an attempt)
            return Probed(False, self._failed(error, used).answer)
        refused = answer.status in (401, 403, 407, 408, 429) or answer.status >= 500
        well = True if 200 <= answer.status < 300 else False if refused else None
        return Probed(well, answers.line(answer, self._secrets.texts))

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _failed(self, error: Exception, used: Sequence[Handler]) -> Outcome:
        """The outcome of an attempt that ended with an error. Without a connection that it `used` no byte of it has
        left us: name, connection, TLS or a full pool stood in its way. With one the first byte may have: nothing is
        waited for between the two."""
        match error:
            case NotAllowed():
                return error.outcome
            case SecretMissing() | CertificateMissing():
                return Outcome(OutcomeKind.STOPPED, answers.excerpt(f"not sent: {error}", self._secrets.texts))
            case aiohttp.ClientResponseError():  # its status is aiohttp's own, and none that the partner gave
                error = aiohttp.ClientError(f"unreadable head: {error.message}")
        return answers.fault(error, sent=bool(used), secrets=self._secrets.texts)

    async def _ask(self, used: list[Handler]) -> answers.Answer:
        who, _ = await self._auth.header() if self._auth is not None else ("", True)
        probe, url = self._partner.probe, URL(self._partner.url)
        with watched(used):
            async with self._opened().request(
                probe.method if probe else "HEAD",
                url.with_path(probe.path, encoded=True, keep_query=True) if probe else url,
                headers=self._own_headers(who),
                allow_redirects=False,
                ssl=self._context(),
            ) as response:
                return await _read(response, MAX_ANSWER)

    async def _send(self, envelope: Envelope, used: list[Handler]) -> Outcome:
        who, newest = await self._auth.header() if self._auth is not None else ("", True)
        data = envelope.body
        if self._partner.compression == "gzip":
            data = await asyncio.to_thread(gzip.compress, data, mtime=0)
        digest = sha256(data).digest() if data is not envelope.body else envelope.body_digest
        with watched(used):
            answer = await self._request(envelope, data, self._headers(envelope, digest, who))
        outcome = answers.judge(
            answer,
            {envelope.body_digest, digest},
            self._clock(),
            not_done=self._partner.not_done,
            secrets=self._secrets.texts,
            create_only=self._create_only,
            records=self._records,
            names=envelope.names,
        )
        if answer.status == 401 and self._auth is not None and await self._auth.another(who, newest):
            return outcome._replace(kind=OutcomeKind.PAUSED, retry_after=0.0)
        return outcome

    async def _request(self, envelope: Envelope, data: bytes, headers: CIMultiDict[str]) -> answers.Answer:
        async with self._opened().request(
            self._partner.method,
            self._url(envelope),
            data=data if len(data) <= PIECE else io.BytesIO(data),
            headers=headers,
            allow_redirects=False,
            ssl=self._context(),
        ) as response:
            return await _read(response, min(MAX_ANSWER + MAX_RECORD_ANSWER * len(envelope.names), MAX_ANSWERS))

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = self._open()
        return self._session

    def _open(self) -> aiohttp.ClientSession:
        partner = self._partner
        return aiohttp.ClientSession(
            connector=Connector(partner.connections),
            timeout=aiohttp.ClientTimeout(  # `send` keeps the one for all of an attempt
                total=None, sock_connect=partner.connect_timeout, sock_read=partner.read_timeout
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )

    def _context(self) -> ssl.SSLContext | bool:
        """For a new connection. Raises CertificateMissing and SecretMissing."""
        return self._tls.now() if self._tls is not None else True

    def _url(self, envelope: Envelope) -> URL:
        url = URL(self._partner.url)
        if self._partner.path is None:
            return url
        return url.with_path(url.raw_path.rstrip("/") + envelope.path, encoded=True, keep_query=True)

    def _headers(self, envelope: Envelope, digest: bytes, who: str) -> CIMultiDict[str]:
        """`digest`: of the bytes as they are sent (RFC 9530). Ours win over the partner's own of the same name."""
        partner, headers = self._partner, self._own_headers(who)
        if partner.compression != "none":
            headers["Content-Encoding"] = partner.compression
        headers["Content-Type"] = partner.content_type or envelope.content_type
        headers[partner.idempotency_header] = envelope.idempotency_key
        headers["Content-Digest"] = f"sha-256=:{base64.b64encode(digest).decode()}:"
        headers["Waybill-Batch"] = envelope.batch_id.hex()
        headers["Waybill-Attempt"] = str(envelope.attempt)
        headers["Waybill-Life"] = str(envelope.life)
        for name, value in envelope.metadata.items():
            headers[_header(name)] = value
        return headers

    def _own_headers(self, who: str) -> CIMultiDict[str]:
        """What every request to the partner carries. Raises SecretMissing."""
        headers: CIMultiDict[str] = CIMultiDict()
        for name, value in self._partner.headers.items():
            headers[name] = self._secrets.read(value) if isinstance(value, Secret) else value
        if who:
            headers["Authorization"] = who
        headers["Accept-Encoding"] = "identity"
        return headers

    async def _post(self, url: str, headers: dict[str, str], form: str) -> tuple[int, bytes]:
        """One request of a token. See auth.Post."""
        async with self._opened().post(
            url,
            data=form.encode(),
            headers=headers,
            allow_redirects=False,
            ssl=self._context(),
        ) as response:
            answer = await _read(response, MAX_ANSWER)
        return answer.status, answer.body


@cache
def _header(field: str) -> str:
    """The header in which a field of the metadata is sent."""
    return "Waybill-" + field.replace("_", "-").title()


async def _read(response: aiohttp.ClientResponse, limit: int) -> answers.Answer:
    """Reads what the answer declares, up to `limit` bytes. Raises only CancelledError: once there is a status line, a
    body that cannot be had is an incomplete answer and no longer a missing one."""
    body = bytearray()
    # A framed answer has a known end; without length or chunks a lost connection looks like the end.
    framed = response.content_length is not None or "chunked" in response.headers.get("Transfer-Encoding", "").lower()
    complete: bool | None = True if framed or response.status in (204, 304) else None
    try:
        async for part in response.content.iter_chunked(16 * 1024):
            body += part
            if len(body) > limit:
                complete = False
                break
    except (aiohttp.ClientError, TimeoutError, OSError):
        complete = False
    if complete is not True:
        response.close()  # what is left of it must not be taken for the next answer
    headers = {name.lower(): value for name, value in response.headers.items()}
    return answers.Answer(response.status, response.reason or "", headers, bytes(body[:limit]), complete)


def _configured(partner: HttpPartner, env: Mapping[str, str]) -> Secrets:
    """The partner's secrets. Values of configured headers are some, which it may echo but no ack may show; the bare
    token of `Bearer x` too."""
    secrets = Secrets(env)
    plain = [value for value in partner.headers.values() if isinstance(value, str)]
    url = URL(partner.url)
    secrets.always(*plain, *(value.rpartition(" ")[2] for value in plain), url.password, url.raw_query_string)
    return secrets
