"""Owns who we are to one HTTP partner: the Authorization of each attempt, and a token's life from fetching to refusal.

Tokens are kept in memory only. What stands in the way of having one is the end of the attempt, before a byte of it was
sent.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749 import OAuth2Token
from yarl import URL

from streams.delivery.protocol import Outcome, OutcomeKind
from streams.delivery.secrets import SecretMissing, Secrets
from topology.partner import BasicAuth, BearerAuth, OAuth2Auth

LEEWAY = 30
"""Seconds before its expiry in which a token is not used any more: it must also arrive in time."""
FORM = "application/x-www-form-urlencoded"

Post = Callable[[str, dict[str, str], str], Awaitable[tuple[int, bytes]]]
"""Sends a form to a URL with headers; gives back status and body. Raises what its client raises."""


class NotAllowed(Exception):
    """There is no Authorization for this attempt; `outcome` is what the attempt came to."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.answer)
        self.outcome = outcome


class Authorization:
    """The Authorization header of a partner's requests."""

    def __init__(self, auth: BearerAuth | BasicAuth | OAuth2Auth, secrets: Secrets, post: Post) -> None:
        self._auth, self._secrets, self._post = auth, secrets, post
        self._token: OAuth2Token | None = None
        self._lock = asyncio.Lock()

    async def header(self) -> tuple[str, bool]:
        """The header's value, and whether it is as new as it can be: a token fetched for this very attempt, or a
        secret just read. Raises NotAllowed and SecretMissing."""
        match self._auth:
            case BearerAuth():
                return f"Bearer {self._secrets.read(self._auth.token)}", True
            case BasicAuth():
                pair = f"{self._auth.user}:{self._secrets.read(self._auth.password)}".encode()
                return f"Basic {self._secrets.note(base64.b64encode(pair).decode())}", True
            case OAuth2Auth():
                async with self._lock:  # one fetch for all attempts that wait
                    if self._token is not None and not self._token.is_expired(leeway=LEEWAY):
                        return f"Bearer {self._token['access_token']}", False
                    self._token = await self._fetch(self._auth)
                    return f"Bearer {self._token['access_token']}", True

    async def another(self, value: str, newest: bool) -> bool:
        """The partner does not know us by this value (401), `newest` as `header` gave it. True: there is another one,
        with which the attempt is worth repeating at once."""
        if isinstance(self._auth, OAuth2Auth):
            if self._token is not None and value == f"Bearer {self._token['access_token']}":
                self._token = None
            return not newest
        try:
            return (await self.header())[0] != value  # rotated while the request was on its way
        except SecretMissing:
            return False

    async def _fetch(self, auth: OAuth2Auth) -> OAuth2Token:
        form = {"grant_type": "client_credentials", "scope": auth.scope, "audience": auth.audience}
        client = ClientAuth(auth.client_id, self._secrets.read(auth.client_secret), f"client_secret_{auth.client_auth}")
        given = URL.build(query={name: text for name, text in form.items() if text}).raw_query_string
        plain = {"Content-Type": FORM, "Accept": "application/json"}
        _, headers, body = client.prepare("POST", auth.token_url, plain, given)
        self._secrets.note(headers.get("Authorization", "").rpartition(" ")[2])
        status, answer = await self._post(auth.token_url, headers, body)
        return self._read(status, answer)

    def _read(self, status: int, answer: bytes) -> OAuth2Token:
        """The token in an answer (RFC 6749, 5.1). Raises NotAllowed."""
        said: Any = None
        with suppress(ValueError, RecursionError):
            said = json.loads(answer)
        said = said if isinstance(said, dict) else {}
        token = said.get("access_token")
        if status == 200 and isinstance(token, str) and token and token.isascii() and token.isprintable():
            self._secrets.note(token)
            return OAuth2Token({"access_token": token} | _lifetime(said.get("expires_in")))
        error = said.get("error") if isinstance(said.get("error"), str) else ""
        text = f"not sent: the token endpoint answered {status} {error}".rstrip()
        # 4xx is about us, and people must look at it; anything else may pass.
        kind = OutcomeKind.STOPPED if 400 <= status < 500 and status not in (408, 429) else OutcomeKind.FAILED
        raise NotAllowed(Outcome(kind, text))


def _lifetime(seconds: Any) -> dict[str, int]:
    """Until when a token holds; one that does not say is used until it is refused."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float | str):
        return {}
    try:
        return {"expires_at": int(time.time() + min(float(seconds), 10 * 365 * 86_400))}
    except ValueError:
        return {}
