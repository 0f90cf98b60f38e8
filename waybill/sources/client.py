"""Owns the connection to one repository: who we are to it, one page at a time, never more of it than is taken.

It follows no redirect: our credentials are for the server that was named.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Mapping

import aiohttp

from streams.delivery import answers
from streams.delivery.auth import Authorization
from streams.delivery.protocol import NotAllowed
from streams.delivery.secrets import SecretMissing, Secrets
from streams.delivery.tls import CertificateMissing, TlsContext
from topology.source import QuerySource
from waybill.sources.poll import Answer, Failed

MAX_TOKEN = 64 * 1024
"""Bytes of a token endpoint's answer."""
ASKED = {
    "Accept": "application/ld+json, application/json",
    "Accept-Encoding": "identity",
    "GS1-EPCIS-Version": "2.0.0",
    "GS1-CBV-Version": "2.0.0",
}


class QueryClient:
    """Used from one thread."""

    def __init__(self, source: QuerySource, limit: int, env: Mapping[str, str] = os.environ) -> None:
        """`limit`: bytes of a page. Opens nothing yet."""
        self._source, self._limit = source, limit
        self._secrets = Secrets(env)
        self._tls = TlsContext(source.tls, self._secrets) if source.tls is not None else None
        self._auth = Authorization(source.auth, self._secrets, self._post) if source.auth is not None else None
        self._runner = asyncio.Runner()
        self._session: aiohttp.ClientSession | None = None

    def fetch(self, url: str) -> Answer:
        """See `poll.Fetch`."""
        try:
            return self._runner.run(self._fetch(url))
        except (SecretMissing, CertificateMissing) as missing:
            raise Failed(self._safe(str(missing))) from None
        except NotAllowed as refused:
            raise Failed(self._safe(refused.outcome.answer)) from None
        except TimeoutError:
            raise Failed(f"no answer in {self._source.timeout:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Failed(self._safe(f"{type(error).__name__}: {error}")) from None

    def close(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            self._runner.run(self._session.close())
        self._runner.close()

    async def _fetch(self, url: str) -> Answer:
        async with asyncio.timeout(self._source.timeout):
            for _ in range(2):
                who, newest = await self._auth.header() if self._auth is not None else ("", True)
                headers = {**ASKED, "Authorization": who} if who else ASKED
                async with self._opened().get(url, headers=headers, allow_redirects=False, ssl=self._context()) as got:
                    body = await _read(got, self._limit)
                    found = {name.lower(): ", ".join(got.headers.getall(name)) for name in got.headers}
                    answer = Answer(got.status, self._safe(got.reason or ""), found, body)
                if not (answer.status == 401 and self._auth and await self._auth.another(who, newest)):
                    break
            return answer

    async def _post(self, url: str, headers: dict[str, str], form: str) -> tuple[int, bytes]:
        """One request of a token. See auth.Post."""
        async with self._opened().post(
            url, data=form.encode(), headers=headers, allow_redirects=False, ssl=self._context()
        ) as got:
            return got.status, await _read(got, MAX_TOKEN)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False)
        return self._session

    def _context(self) -> ssl.SSLContext | bool:
        return self._tls.now() if self._tls is not None else True

    def _safe(self, text: str) -> str:
        return answers.excerpt(text, self._secrets.texts)


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body. Raises Failed for one above `limit` bytes."""
    body = bytearray()
    async for part in response.content.iter_chunked(64 * 1024):
        body += part
        if len(body) > limit:
            response.close()  # what is left of it must not be taken for the next answer
            raise Failed(f"a page of more than {limit} bytes (raw.max_message_bytes): ask for fewer with `per_page`")
    return bytes(body)
