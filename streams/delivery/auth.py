"""Owns who we are to one HTTP partner: the Authorization of each attempt, and a token's life from fetching to refusal.

Tokens are kept in memory only. What stands in the way of having one is the end of the attempt, before a byte of it was
sent. The client of token endpoints is imported only where a partner has one (`tokens.py`).
"""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING

from streams.delivery.secrets import SecretMissing, Secrets
from topology.credentials import BasicAuth, BearerAuth, OAuth2Auth

if TYPE_CHECKING:
    from authlib.oauth2.rfc6749 import OAuth2Token

    from streams.delivery.tokens import Post

LEEWAY = 30
"""Seconds before its expiry in which a token is not used any more: it must also arrive in time."""


class Authorization:
    """The Authorization header of a partner's requests."""

    def __init__(self, auth: BearerAuth | BasicAuth | OAuth2Auth, secrets: Secrets, post: Post) -> None:
        self._auth, self._secrets = auth, secrets
        self._token: OAuth2Token | None = None
        self._lock = asyncio.Lock()
        if isinstance(auth, OAuth2Auth):
            from streams.delivery.tokens import TokenEndpoint

            self._endpoint = TokenEndpoint(auth, secrets, post)

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
                    self._token = await self._endpoint.fetch()
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
